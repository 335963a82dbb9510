import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Deadline, DeadlineWheel } from "../../../lib/core/cancellation.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const TICK_MS = 10;

function setup(now = 1003) {
  const clock = new FakeClock(now);
  return { clock, wheel: new DeadlineWheel({ clock, tickMs: TICK_MS }) };
}

Deno.test("Deadline.set() expires once, never early, late by less than two ticks", () => {
  const { clock, wheel } = setup();
  for (const delayMs of [0, 1, 9, 10, 11, 500, 5119, 5120, 5121, 60_000]) {
    let expiredAt: number[] = [];
    const setAt = clock.now();
    wheel.deadline(() => expiredAt.push(clock.now() - setAt)).set(delayMs);
    clock.tick(delayMs + 2 * TICK_MS);
    assertEquals(expiredAt.length, 1, `${delayMs}`);
    assert(expiredAt[0]! >= delayMs && expiredAt[0]! < delayMs + 2 * TICK_MS);
    expiredAt = [];
    clock.tick(10_000);
    assertEquals(expiredAt, []);
  }
});

Deno.test("Deadline.set() again moves the deadline, later and earlier", () => {
  const { clock, wheel } = setup();
  let expired = 0;
  const deadline = wheel.deadline(() => expired++);
  deadline.set(100);
  clock.tick(90);
  deadline.set(1000);
  clock.tick(990);
  assertEquals([expired, wheel.pending], [0, 1]);
  deadline.set(5);
  clock.tick(30);
  assertEquals([expired, wheel.pending], [1, 0]);
});

Deno.test("Deadline.set(Infinity) calls a deadline off", () => {
  const { clock, wheel } = setup();
  const deadline = wheel.deadline(() => assert(false));
  deadline.set(10);
  deadline.set(Infinity);
  assertEquals(wheel.pending, 0);
  clock.tick(100_000);
});

Deno.test("Deadline.clear() may be called at any time and more than once", () => {
  const { clock, wheel } = setup();
  const deadline = wheel.deadline(() => assert(false));
  deadline.clear();
  deadline.set(10);
  deadline.clear();
  deadline[Symbol.dispose]();
  assertEquals(wheel.pending, 0);
  clock.tick(1000);
});

Deno.test("DeadlineWheel keeps one timer, and none when nothing is set", () => {
  const { clock, wheel } = setup();
  assertEquals(clock.pending, 0);
  for (let i = 0; i < 100; i++) wheel.deadline(() => {}).set(i * 7);
  assertEquals(clock.pending, 1);
  clock.tick(2000);
  assertEquals([wheel.pending, clock.pending], [0, 0]);
});

Deno.test("DeadlineWheel expires everything that is due after a long stall, and nothing else", () => {
  const { wheel, clock } = setup();
  const seen: string[] = [];
  wheel.deadline(() => seen.push("due")).set(6000);
  wheel.deadline(() => seen.push("not due")).set(90_000);
  // The machine slept: the timer runs once, late.
  const slow = Object.assign(clock, {});
  stall(slow, 20_000);
  assertEquals(seen, ["due"]);
  assertEquals(wheel.pending, 1);
});

/** Lets time pass without any timer, as a machine that sleeps does, and then runs what is due. */
function stall(clock: FakeClock, ms: number): void {
  const now = clock.now.bind(clock);
  clock.now = () => now() + ms;
  clock.tick(TICK_MS);
}

Deno.test("Deadline.onExpire may set the same deadline again, for ever", () => {
  const { clock, wheel } = setup();
  let count = 0;
  const deadline = wheel.deadline(() => {
    count++;
    deadline.set(20);
  });
  deadline.set(20);
  clock.tick(400);
  assert(count >= 10 && count <= 20, `${count}`);
  deadline.clear();
  clock.tick(100);
  assertEquals(clock.pending, 0);
});

Deno.test("Deadline.onExpire may clear another that is due in the same turn", () => {
  const { clock, wheel } = setup();
  const seen: string[] = [];
  const both: Deadline[] = ["a", "b"].map((name, index) =>
    wheel.deadline(() => {
      seen.push(name);
      both[1 - index]!.clear();
    })
  );
  for (const deadline of both) deadline.set(50);
  clock.tick(100);
  assertEquals([seen.length, wheel.pending], [1, 0]);
});

Deno.test("Deadline.onExpire may put off another that is due in the same turn", () => {
  const { clock, wheel } = setup();
  const seen: string[] = [];
  const both: Deadline[] = ["a", "b"].map((name, index) =>
    wheel.deadline(() => {
      seen.push(name);
      both[1 - index]!.set(1000);
    })
  );
  for (const deadline of both) deadline.set(50);
  clock.tick(200);
  assertEquals([seen.length, wheel.pending], [1, 1]);
  clock.tick(1000);
  assertEquals([new Set(seen).size, seen.length], [2, 2]);
});

Deno.test("Deadline.onExpire that takes long and sets a deadline makes no other one late", () => {
  const { clock, wheel } = setup();
  const start = clock.now();
  let late = -1;
  const again = wheel.deadline(() => {});
  wheel.deadline(() => {
    // Longer than a tick, so the deadline after it falls due while this turn goes on.
    const before = clock.now.bind(clock);
    clock.now = () => before() + 25;
    again.set(1000);
  }).set(50);
  wheel.deadline(() => late = clock.now() - start - 70).set(70);
  clock.tick(200);
  assert(late >= 0 && late < 25 + 2 * TICK_MS, `late by ${late} ms`);
});

Deno.test("Deadline.onExpire that throws keeps the others", () => {
  const { clock, wheel } = setup();
  let expired = 0;
  wheel.deadline(() => {
    throw new Error("broken");
  }).set(20);
  wheel.deadline(() => expired++).set(200);
  try {
    clock.tick(50);
  } catch {
    // What a timer's callback throws is the runtime's affair.
  }
  clock.tick(300);
  assertEquals(expired, 1);
});

Deno.test("DeadlineWheel[Symbol.dispose]() expires nothing any more", () => {
  const { clock, wheel } = setup();
  const deadline = wheel.deadline(() => assert(false));
  deadline.set(10);
  wheel[Symbol.dispose]();
  wheel[Symbol.dispose]();
  deadline.set(20);
  clock.tick(1000);
  assertEquals(clock.pending, 0);
});

type Step = { kind: "set"; which: number; delayMs: number } | { kind: "clear"; which: number } | {
  kind: "advance";
  ms: number;
};

Deno.test("DeadlineWheel agrees with a list that is searched (property)", () => {
  const which = fc.nat({ max: 7 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constant("set" as const), which, delayMs: fc.nat({ max: 12_000 }) }),
    fc.record({ kind: fc.constant("set" as const), which, delayMs: fc.nat({ max: 60 }) }),
    fc.record({ kind: fc.constant("clear" as const), which }),
    fc.record({ kind: fc.constant("advance" as const), ms: fc.nat({ max: 3000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat({ max: 100_000 }), (steps, start) => {
      const { clock, wheel } = setup(start);
      const dueAt = new Map<number, number>();
      const deadlines = Array.from({ length: 8 }, (_, index) =>
        wheel.deadline(() => {
          const due = dueAt.get(index);
          assert(due !== undefined, "expired although it was not set");
          assert(clock.now() >= due && clock.now() < due + 2 * TICK_MS, `${clock.now()} for ${due}`);
          dueAt.delete(index);
        }));
      for (const step of steps) {
        if (step.kind === "advance") clock.tick(step.ms);
        else if (step.kind === "clear") {
          deadlines[step.which]!.clear();
          dueAt.delete(step.which);
        } else {
          deadlines[step.which]!.set(step.delayMs);
          dueAt.set(step.which, clock.now() + step.delayMs);
        }
        for (const due of dueAt.values()) assert(due + 2 * TICK_MS > clock.now(), "did not expire");
        assertEquals(wheel.pending, dueAt.size);
      }
      clock.tick(20_000);
      assertEquals([wheel.pending, clock.pending, dueAt.size], [0, 0, 0]);
    }),
    { seed: 20260101, numRuns: 500 },
  );
});

Deno.test("DeadlineWheel.lately is the last tick while deadlines are kept, and the clock's time otherwise", () => {
  const { clock, wheel } = setup();
  assertEquals(wheel.lately, 1003);
  const deadline = wheel.deadline(() => {});
  deadline.set(100);
  clock.tick(25);
  assertEquals(wheel.lately, 1020);
  deadline.clear();
  clock.tick(25);
  assertEquals(wheel.lately, 1053);
});
