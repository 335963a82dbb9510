import { assert, assertEquals } from "@std/assert";
import { systemClock } from "../../../lib/core/clock.ts";

Deno.test("systemClock.now() never goes back", () => {
  let last = systemClock.now();
  for (let i = 0; i < 1000; i++) {
    const now = systemClock.now();
    assert(now >= last);
    last = now;
  }
});

Deno.test("systemClock.wallTime() is what the calendar shows", () => {
  const before = Date.now();
  const time = systemClock.wallTime();
  assert(time >= before && time <= Date.now());
});

Deno.test("systemClock.setTimer() calls back once, and not when it was disposed", async () => {
  const seen: string[] = [];
  // A timer of this test's own keeps the event loop running; the clock's do not.
  const awake = setInterval(() => {}, 60_000);
  const done = Promise.withResolvers<void>();
  systemClock.setTimer(() => seen.push("never"), 1)[Symbol.dispose]();
  using _timer = systemClock.setTimer(() => {
    seen.push("once");
    done.resolve();
  }, 5);
  await done.promise;
  clearInterval(awake);
  assertEquals(seen, ["once"]);
});
