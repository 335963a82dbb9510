/** What this process keeps because of Redis has a bound. */

import { assertEquals } from "@std/assert";
import type { Charge } from "../../../lib/limiter/charge.ts";
import { PrefetchedTokens, RefusedKeys } from "../../../lib/redis/kept_entries.ts";
import { redisTest } from "../../support/redis_server.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FlakyInstance } from "./flaky_connection.ts";

const MOST = 10_000;
const SECOND_US = 1_000_000;

/** One policy's part in a decision, as far as it is looked at here. */
function chargeOf(admitted: boolean): Charge {
  return {
    policy: { penalize: false, dryRun: false, algorithm: "fixed-window", charge: null },
    rule: { limit: 100, burst: 100, windowUs: SECOND_US },
    cost: 1,
    verdict: { admitted, remaining: 50, retryAfterUs: SECOND_US, resetUs: SECOND_US },
  } as unknown as Charge;
}

Deno.test("RefusedKeys remembers 10,000 refusals, and forgets the oldest first", () => {
  const refused = new RefusedKeys();
  const knows = (i: number) => refused.find([chargeOf(true)], 1, [`key ${i}`], 1);
  for (let i = 0; i < MOST; i++) refused.add([chargeOf(false)], 1, [`key ${i}`], 0);
  assertEquals([knows(0), knows(MOST - 1)], [true, true]);
  refused.add([chargeOf(false)], 1, [`key ${MOST}`], 0);
  assertEquals([knows(0), knows(1), knows(MOST)], [false, true, true]);
});

Deno.test("PrefetchedTokens keeps those of 10,000 keys, and forgets the oldest first", () => {
  const prefetched = new PrefetchedTokens(5);
  const has = (i: number) => prefetched.take([chargeOf(true)], 1, [`key ${i}`], 1);
  for (let i = 0; i < MOST; i++) prefetched.keep([chargeOf(true)], 1, [`key ${i}`], 5, 0);
  assertEquals([has(0), has(MOST - 1)], [true, true]);
  prefetched.keep([chargeOf(true)], 1, [`key ${MOST}`], 5, 0);
  assertEquals([has(0), has(1), has(MOST)], [false, true, true]);
});

redisTest(
  "Backlog keeps 10,000 corrections while Redis is away, and tells how many it has dropped",
  async (redis) => {
    const more = 5;
    const clock = new FakeClock();
    await using instance = await FlakyInstance.start({
      url: redis.url,
      prefix: "backlog",
      policies: [],
      clock,
    });
    const { connection: { backlog }, flaky } = instance;
    await flaky.lose();
    for (let i = 0; i < MOST; i++) backlog.forget(`key ${i}`);
    assertEquals(backlog.takeDropped(), 0);
    for (let i = 0; i < more; i++) backlog.forget(`another ${i}`);
    // Told of when Redis is back.
    await flaky.restore(true);
    assertEquals([instance.dropped, backlog.takeDropped()], [more, 0]);
  },
);
