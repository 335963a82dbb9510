/** A Worker that asks a limiter on a shared table as fast as it can. */

import { seededRandom } from "../../../lib/core/random.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import { type KeyedSource, sharedClock, sourceOf } from "../../support/shared_clock.ts";

/** What the Worker is sent first. */
export interface HammerSetup {
  readonly table: SharedArrayBuffer;
  /** Milliseconds, kept by the test. */
  readonly time: SharedArrayBuffer;
  readonly policies: readonly Omit<LimiterPolicy<KeyedSource>, "key">[];
}

/** A table that is to take over the counts. */
export interface HammerHeir {
  readonly heir: SharedArrayBuffer;
}

/** One job: requests for the keys `from` to `to`, `rounds` times each. */
export interface HammerJob {
  readonly prefix: string;
  readonly from: number;
  readonly to: number;
  readonly rounds: number;
  /** Goes on, whatever `rounds` says, until the Worker is terminated or this is no longer 0; `null` is a job that ends. */
  readonly stop: SharedArrayBuffer | null;
  /** Counts what was admitted, for each key. */
  readonly admitted: SharedArrayBuffer;
}

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
};

let limiter: RateLimiter<KeyedSource> | null = null;
let table: SharedTable | null = null;

let attach: ((memory: SharedArrayBuffer) => SharedTable) | null = null;

function run(job: HammerJob, asked: RateLimiter<KeyedSource>): void {
  const admitted = new Int32Array(job.admitted);
  const stop = job.stop === null ? null : new Int32Array(job.stop);
  for (let round = 0; stop === null ? round < job.rounds : Atomics.load(stop, 0) === 0; round++) {
    for (let i = job.from; i < job.to; i++) {
      if (asked.check(sourceOf(`${job.prefix}${i}`)).kind === "allowed") Atomics.add(admitted, i, 1);
    }
  }
}

scope.onmessage = ({ data }) => {
  if (limiter === null) {
    const { table: memory, time, policies } = data as HammerSetup;
    const clock = sharedClock(time);
    table = SharedTable.attach(memory, { clock });
    attach = (memory) => SharedTable.attach(memory, { clock });
    limiter = new RateLimiter<KeyedSource>(
      policies.map((policy) => ({ ...policy, key: (_, source) => source.key })),
      { clock, random: seededRandom(1), table },
    );
    scope.postMessage("ready");
  } else if ("heir" in data) {
    const heir = attach!((data as HammerHeir).heir);
    table!.follow(heir);
    table = heir;
    scope.postMessage("follows");
  } else {
    if ((data as HammerJob).stop !== null) scope.postMessage("begun");
    run(data as HammerJob, limiter);
    scope.postMessage("done");
  }
};
