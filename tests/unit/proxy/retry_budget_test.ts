import { assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { RetryBudget } from "../../../lib/proxy/overload_limit.ts";

/** How many retries are allowed at a moment. */
function taken(budget: RetryBudget, now: number, asked = 1000): number {
  let count = 0;
  for (let i = 0; i < asked; i++) if (budget.take(now)) count++;
  return count;
}

Deno.test("RetryBudget allows a share of the requests of the last ten seconds", () => {
  const budget = new RetryBudget({ percent: 20, min: 0 });
  assertEquals(taken(budget, 0), 0);
  for (let i = 0; i < 100; i++) budget.request(500);
  assertEquals([taken(budget, 900), taken(budget, 9999)], [20, 0]);
  // What was in the first second counts no longer, neither as a request nor as a retry.
  for (let i = 0; i < 10; i++) budget.request(10_000);
  assertEquals(taken(budget, 10_000), 2);
});

Deno.test("RetryBudget allows so many a second in any case", () => {
  const budget = new RetryBudget({ percent: 0, min: 3 });
  assertEquals([taken(budget, 0), taken(budget, 9000), taken(budget, 10_000), taken(budget, 60_000)], [
    30,
    0,
    30,
    30,
  ]);
});

Deno.test("RetryBudget loses no count to a request whose moment is a little older", () => {
  const budget = new RetryBudget({ percent: 10, min: 0 });
  for (let i = 0; i < 50; i++) budget.request(5000);
  budget.request(4999);
  for (let i = 0; i < 50; i++) budget.request(5000);
  assertEquals(taken(budget, 5000), 11);
});

Deno.test("RetryBudget never allows more than the larger of both bounds, whatever comes when", () => {
  const step = fc.record({ after: fc.integer({ min: 0, max: 4000 }), retry: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.nat(50), fc.nat(2), (steps, percent, min) => {
      const budget = new RetryBudget({ percent, min });
      const log: { at: number; retry: boolean }[] = [];
      let now = 0;
      for (const { after, retry } of steps) {
        now += after;
        // A naive model: everything in the ten seconds that the current one ends.
        const recent = log.filter(({ at }) => Math.floor(now / 1000) - Math.floor(at / 1000) < 10);
        const requests = recent.filter((each) => !each.retry).length;
        const retries = recent.length - requests;
        if (!retry) budget.request(now);
        else assertEquals(budget.take(now), retries < Math.max(min * 10, requests * percent / 100));
        if (!retry || retries < Math.max(min * 10, requests * percent / 100)) log.push({ at: now, retry });
      }
    }),
  );
});
