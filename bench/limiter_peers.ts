/**
 * Cost of a decision compared with other limiters: a million decisions over 100,000 keys, in this thread and in a Worker.
 *
 *   deno task bench:limiter
 */

import { type Contender, CONTENDERS, measure } from "./limiter_contenders.ts";

const ROUNDS = 5;

/** Nanoseconds per decision in a Worker. */
function measureInWorker(contender: Contender): Promise<number> {
  const worker = new Worker(new URL("./limiter_worker.ts", import.meta.url), { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = ({ message }) => reject(new Error(message));
  worker.postMessage(contender);
  return promise.finally(() => worker.terminate());
}

function median(values: readonly number[]): string {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!.toFixed(0);
}

const results = CONTENDERS.map((contender) => ({ contender, here: [] as number[], worker: [] as number[] }));
// In turn, so that a drift of the machine's speed affects all.
for (let round = 0; round < ROUNDS; round++) {
  for (const { contender, here, worker } of results) {
    here.push(await measure(contender));
    worker.push(await measureInWorker(contender));
  }
}

// deno-lint-ignore no-console
console.table(Object.fromEntries(results.map(({ contender, here, worker }) => [
  contender,
  { "ns a decision": median(here), "in a Worker": median(worker) },
])));
