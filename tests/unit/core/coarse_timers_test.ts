import { assert, assertEquals } from "@std/assert";
import { CoarseTimers } from "../../../lib/core/cancellation.ts";
import { FakeClock } from "../../support/fake_clock.ts";

Deno.test("CoarseTimers.setTimer() is never early, late by less than two ticks, and shares one timer", () => {
  const clock = new FakeClock();
  using timers = new CoarseTimers(clock, 10);
  const begun = clock.now();
  const late: number[] = [];
  for (let ms = 0; ms < 300; ms += 7) timers.setTimer(() => late.push(clock.now() - begun - ms), ms);
  timers.setTimer(() => late.push(NaN), 100)[Symbol.dispose]();
  assertEquals(clock.pending, 1);
  clock.tick(400);
  assertEquals([late.length, clock.pending], [43, 0]);
  assert(late.every((ms) => ms >= 0 && ms < 20), late.join(" "));
});

Deno.test("CoarseTimers[Symbol.dispose]() ends all of them, twice as well as once", () => {
  const clock = new FakeClock();
  const timers = new CoarseTimers(clock, 10);
  timers.setTimer(() => assert(false), 5);
  timers[Symbol.dispose]();
  timers[Symbol.dispose]();
  clock.tick(100);
  assertEquals(clock.pending, 0);
});
