/** Far more keys than there is room for, as a client sends them who makes up a new one for each request. */

import { assertEquals, assertLess } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { type KeyedSource, sourceOf } from "../../support/shared_clock.ts";

/** How many keys come; run by hand with 10,000,000 as well. */
const KEYS = Number(Deno.env.get("LIMITER_ATTACK_KEYS") ?? 1_000_000);
const LIMIT = 10;

Deno.test("RateLimiter under attack by new keys keeps its memory, and stays exact for those in the table", () => {
  const clock = new FakeClock();
  let overflows = 0;
  using limiter = new RateLimiter<KeyedSource>(
    { key: (_, source) => source.key, limit: LIMIT, window: "1h" },
    { clock, random: seededRandom(3), maxKeys: 10_000, onOverflow: () => overflows++ },
  );
  const bytes = limiter.table.buffer.byteLength;
  const known = Array.from({ length: 2000 }, (_, n) => sourceOf(`known${n}`));
  // Three of ten are used up before the attack, two while it goes on, five after it.
  for (let n = 0; n < 3; n++) for (const source of known) assertEquals(limiter.check(source).kind, "allowed");
  const before = Deno.memoryUsage().rss;
  const request = { ...sourceOf("") };
  let refused = 0;
  for (let n = 0; n < KEYS; n++) {
    if (limiter.check({ ...request, key: `attack${n}` }).kind === "limited") refused++;
    if (n === KEYS >> 1) {
      for (let m = 0; m < 2; m++) {
        for (const source of known) assertEquals(limiter.check(source).kind, "allowed");
      }
    }
  }
  const grown = Deno.memoryUsage().rss - before;
  for (const source of known) {
    for (let n = 5; n < LIMIT; n++) assertEquals(limiter.check(source).kind, "allowed", source.key);
    assertEquals(limiter.check(source).kind, "limited", source.key);
  }
  assertEquals(limiter.table.buffer.byteLength, bytes);
  // The garbage of as many keys; the counts of that many would take a gigabyte.
  assertLess(grown, 128 * 1024 * 1024);
  // Each of them asks once, as a client does that comes for the first time.
  assertEquals(refused, 0);
  assertEquals(overflows, 1);
});
