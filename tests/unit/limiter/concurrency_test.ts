import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { concurrency, makeVerdict, releasePermits, type State } from "../../../lib/limiter/algorithm.ts";
import { SEED } from "./arrivals.ts";

const RULE = { limit: 3, windowUs: 1000, burst: 0, penalize: false, bounded: false };

/** Take or give back, some time after the step before. */
const steps = fc.array(
  fc.record({ gap: fc.integer({ min: 0, max: 700 }), take: fc.boolean(), pick: fc.nat() }),
  { maxLength: 80 },
);

Deno.test("concurrency() holds as many places as a list of those taken, given back or forgotten", () => {
  fc.assert(
    fc.property(steps, (list) => {
      let state: State = { a: 0, b: 0, c: 0 };
      let now = 1;
      let held: { periodEnd: number }[] = [];
      const verdict = makeVerdict();
      for (const { gap, take, pick } of list) {
        now += gap;
        // A place is forgotten when its period and the one after it are over.
        if (take) {
          concurrency(state, now, 1, RULE, verdict);
          held = held.filter(({ periodEnd }) => verdict.next.a - periodEnd <= RULE.windowUs);
          assertEquals(verdict.admitted, held.length < RULE.limit);
          if (!verdict.admitted) continue;
          state = { ...verdict.next };
          held.push({ periodEnd: state.a });
        } else if (held.length > 0) {
          const [place] = held.splice(pick % held.length, 1);
          const next: State = { a: 0, b: 0, c: 0 };
          releasePermits(state, now, 1, RULE.windowUs, place!.periodEnd, next);
          state = next;
        }
      }
    }),
    SEED,
  );
});

Deno.test("concurrency() never admits more than the limit, whatever happens to the places", () => {
  fc.assert(
    fc.property(steps, (list) => {
      let state: State = { a: 0, b: 0, c: 0 };
      let now = 1;
      const held: { periodEnd: number; at: number }[] = [];
      const verdict = makeVerdict();
      for (const { gap, take, pick } of list) {
        now += gap;
        if (take) {
          concurrency(state, now, 1, RULE, verdict);
          if (!verdict.admitted) continue;
          state = { ...verdict.next };
          held.push({ periodEnd: state.a, at: now });
          const young = held.filter(({ at }) => now - at < RULE.windowUs);
          assert(young.length <= RULE.limit, `${young.length} places held`);
        } else if (held.length > 0) {
          const [place] = held.splice(pick % held.length, 1);
          releasePermits(state, now, 1, RULE.windowUs, place!.periodEnd, state);
        }
      }
    }),
    SEED,
  );
});

Deno.test("releasePermits() leaves an entry that says nothing free for others", () => {
  const verdict = makeVerdict();
  concurrency({ a: 0, b: 0, c: 0 }, 5, 2, RULE, verdict);
  const state = { ...verdict.next };
  releasePermits(state, 6, 2, RULE.windowUs, state.a, state);
  assertEquals(state, { a: 0, b: 0, c: 0 });
});

Deno.test("concurrency() gives the places of a worker that died back after two windows at most", () => {
  const verdict = makeVerdict();
  concurrency({ a: 0, b: 0, c: 0 }, 1, 3, RULE, verdict);
  const state = { ...verdict.next };
  concurrency(state, 1500, 1, RULE, verdict);
  assertEquals(verdict.admitted, false);
  concurrency(state, 2001, 3, RULE, verdict);
  assertEquals(verdict.admitted, true);
});
