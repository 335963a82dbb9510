/** One policy's part in one decision. */

import { type Algorithm, makeVerdict, type Rule, type Verdict } from "./algorithm.ts";
import { concurrency } from "./concurrency.ts";
import type { CountMinSketch } from "./count_min_sketch.ts";
import { Cursor } from "./cursor.ts";
import { fixedWindow } from "./fixed_window.ts";
import type { AlgorithmName, ResolvedPolicy } from "./policy.ts";
import { slidingWindow } from "./sliding_window.ts";
import { tokenBucket } from "./token_bucket.ts";

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
