/** One policy's part in one decision. */

import {
  type Algorithm,
  concurrency,
  Cursor,
  fixedWindow,
  makeVerdict,
  type Rule,
  slidingWindow,
  tokenBucket,
  type Verdict,
} from "./algorithm.ts";
import type { CountMinSketch } from "./count_min_sketch.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { AlgorithmName, DueCharge, ResolvedPolicy } from "./policy.ts";
import { FULL_USE, PINNED } from "./table_layout.ts";

const ALGORITHMS: Readonly<Record<AlgorithmName, Algorithm>> = {
  "fixed-window": fixedWindow,
  "sliding-window": slidingWindow,
  "token-bucket": tokenBucket,
  "concurrency": concurrency,
};

/** What is to be decided by one policy, and what was; made once for each policy and used for every request. */
export class Charge {
  readonly policy: ResolvedPolicy;
  /** Position of the policy in its limiter. */
  readonly index: number;
  readonly algorithm: Algorithm;
  /** Counts what no entry may be displaced for. */
  readonly sketch: CountMinSketch;
  readonly rule: Rule;
  readonly verdict: Verdict = makeVerdict();
  readonly cursor: Cursor = new Cursor();
  /** The policy's name as a list, which is what most refusals need. */
  readonly nameList: readonly string[];
  /** Keeps the policy's keys apart from those of others. */
  readonly saltLow: number;
  readonly saltHigh: number;
  /** What the window adds to `saltLow`, where another window could not read the state; 0 otherwise. */
  readonly windowSalt: number;

  key = "";
  cost = 0;
  /** Whether the key is counted by estimate. */
  overflowed = false;
  /** Where the store has counted it: by itself, in the table of this instance because it could not, or not at all. */
  place: "store" | "table" | "nowhere" = "store";
  /** When the store decided, by its own time. */
  decidedAt = 0;
  /** What the store calls the key, and the session in which it was asked; only set for permits of a store. */
  storeKey = "";
  session = 0;
  /** The limit that {@linkcode shareOfOne} was worked out for. */
  sharedLimit = 0.5;
  /** What one of the limit is as a share of it, of `FULL_USE`. */
  shareOfOne = 0.5;
  /** Whether the decision that is being settled writes the new state. */
  writes = false;

  constructor(
    policy: ResolvedPolicy,
    index: number,
    sketch: CountMinSketch,
    salt: { readonly low: number; readonly high: number; readonly window: number },
  ) {
    this.policy = policy;
    this.index = index;
    this.nameList = Object.freeze([policy.name]);
    this.algorithm = ALGORITHMS[policy.algorithm];
    this.sketch = sketch;
    this.windowSalt = salt.window;
    this.saltLow = salt.low ^ salt.window;
    this.saltHigh = salt.high;
    this.rule = {
      limit: 0,
      windowUs: Math.round(policy.windowMs * 1000),
      burst: 0,
      penalize: policy.penalize,
      bounded: typeof policy.limit === "number" && typeof policy.burst !== "function" &&
        policy.charge === null,
    };
  }
}

// What a request was counted by, for whoever corrects it when the request is over.

/** One policy's part in an admitted request. */
export interface CountedKey extends Fingerprint, DueCharge {
  readonly limit: number;
  readonly burst: number;
  readonly windowUs: number;
  /** `a` of the key's state right after, which tells in which window it was counted. */
  readonly expiresAt: number;
  /** Where it was counted when the table had no room. */
  readonly sketch: CountMinSketch | null;
  /** Where it is counted when the table has no room. */
  readonly overflow: CountMinSketch;
  /** Time of the decision, in microseconds of the table's. */
  readonly countedAt: number;
}

/** Keeps what a charge says, before it is used for the next request. */
export function countedKey(charge: Charge, countedAt: number): CountedKey {
  const { policy, key, cost, rule, verdict, cursor, overflowed, sketch } = charge;
  return {
    low: cursor.low,
    high: cursor.high,
    policy,
    key,
    cost,
    limit: rule.limit,
    burst: rule.burst,
    windowUs: rule.windowUs,
    expiresAt: verdict.next.a,
    sketch: overflowed ? sketch : null,
    overflow: sketch,
    countedAt,
  };
}

// Numbers of a verdict as clients are told them, and as the table keeps them.

/** The limit for a key; the capacity, for a token bucket. */
export function limitOf({ policy, rule }: Charge): number {
  return policy.algorithm === "token-bucket" ? rule.burst : rule.limit;
}

/** Milliseconds in which a policy allows its limit once; 0 for a concurrency policy. */
export function windowOf({ policy, rule }: Charge): number {
  if (policy.algorithm === "concurrency") return 0;
  if (policy.algorithm !== "token-bucket" || rule.limit === 0) return policy.windowMs;
  return rule.burst * policy.windowMs / rule.limit;
}

/** How much of its limit a key has used with the verdict, as its entry says. */
export function useOf(charge: Charge): number {
  const { policy: { algorithm, charge: later }, verdict: { remaining }, rule } = charge;
  // What is given or taken back later has to find its entry.
  if (later !== null || algorithm === "concurrency") return PINNED;
  const limit = algorithm === "token-bucket" ? rule.burst : rule.limit;
  if (remaining === 0) return FULL_USE;
  // A division for each request would cost more than all else that is done for it here.
  if (limit !== charge.sharedLimit) {
    charge.sharedLimit = limit;
    charge.shareOfOne = FULL_USE / limit;
  }
  return ((limit - remaining) * charge.shareOfOne) | 0;
}

/** A share of a limit, of `FULL_USE`. */
export function shareOf(used: number, limit: number): number {
  return used >= limit ? FULL_USE : Math.floor(used / limit * FULL_USE);
}
