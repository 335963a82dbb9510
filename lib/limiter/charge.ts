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

/** Input and result of one policy's decision; made once per policy and reused for every request. */
export class Charge {
  readonly policy: ResolvedPolicy;
  /** Position of the policy in its limiter. */
  readonly index: number;
  readonly algorithm: Algorithm;
  /** Counts keys for which no entry can be displaced. */
  readonly sketch: CountMinSketch;
  readonly rule: Rule;
  readonly verdict: Verdict = makeVerdict();
  readonly cursor: Cursor = new Cursor();
  /** The policy's name as a list: all that most refusals need. */
  readonly nameList: readonly string[];
  /** Separates the policy's keys from those of other policies. */
  readonly saltLow: number;
  readonly saltHigh: number;
  /** The window's part of `saltLow` if states are invalid for another window; otherwise 0. */
  readonly windowSalt: number;

  key = "";
  cost = 0;
  /** Whether the key is counted by estimate. */
  overflowed = false;
  /** Where it was counted: in the store, in the table of this instance because the store failed, or not at all. */
  place: "store" | "table" | "nowhere" = "store";
  /** Time of the decision, by the store's clock. */
  decidedAt = 0;
  /** Name of the key in the store, and the session of the request to it; only set for permits of a store. */
  storeKey = "";
  session = 0;
  /** The limit for which {@linkcode shareOfOne} was computed. */
  sharedLimit = 0.5;
  /** One unit of the limit as a share of it, in units of `FULL_USE`. */
  shareOfOne = 0.5;
  /** Whether the current decision writes the new state. */
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

// The record of a counted request, for corrections when it has ended.

/** One policy's part in an admitted request. */
export interface CountedKey extends Fingerprint, DueCharge {
  readonly limit: number;
  readonly burst: number;
  readonly windowUs: number;
  /** `a` of the key's state right after it was counted; identifies the window. */
  readonly expiresAt: number;
  /** The sketch that counted it because the table had no room. */
  readonly sketch: CountMinSketch | null;
  /** The sketch for the case that the table has no room. */
  readonly overflow: CountMinSketch;
  /** Time of the decision, in microseconds of the table's time. */
  readonly countedAt: number;
}

/** Copies the result of a charge before it is reused for the next request. */
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

// Numbers of a verdict, for clients and for the table.

/** The limit for a key; the capacity, for a token bucket. */
export function limitOf({ policy, rule }: Charge): number {
  return policy.algorithm === "token-bucket" ? rule.burst : rule.limit;
}

/** Milliseconds in which a policy admits its limit once; 0 for a concurrency policy. */
export function windowOf({ policy, rule }: Charge): number {
  if (policy.algorithm === "concurrency") return 0;
  if (policy.algorithm !== "token-bucket" || rule.limit === 0) return policy.windowMs;
  return rule.burst * policy.windowMs / rule.limit;
}

/** Used share of the limit after the verdict, as stored in the entry. */
export function useOf(charge: Charge): number {
  const { policy: { algorithm, charge: later }, verdict: { remaining }, rule } = charge;
  // A later correction or release must find the entry.
  if (later !== null || algorithm === "concurrency") return PINNED;
  const limit = algorithm === "token-bucket" ? rule.burst : rule.limit;
  if (remaining === 0) return FULL_USE;
  // A division per request would cost more than all the rest of this function.
  if (limit !== charge.sharedLimit) {
    charge.sharedLimit = limit;
    charge.shareOfOne = FULL_USE / limit;
  }
  return ((limit - remaining) * charge.shareOfOne) | 0;
}

/** A used share of a limit, in units of `FULL_USE`. */
export function shareOf(used: number, limit: number): number {
  return used >= limit ? FULL_USE : Math.floor(used / limit * FULL_USE);
}
