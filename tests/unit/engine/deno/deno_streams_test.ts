import { assertEquals } from "@std/assert";
import { DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { DenoStreams } from "../../../../lib/engine/deno/deno_streams.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

type RunningStream = Parameters<DenoStreams["add"]>[0];

/** A request as far as the list looks at it. */
class FakeStream implements RunningStream {
  index = -1;
  awaitsContent = false;
  unanswered = true;
  watches = 0;
  readonly startedAt: number;

  constructor(startedAt: number) {
    this.startedAt = startedAt;
  }

  watch(): void {
    this.watches++;
    this.unanswered = false;
  }
}

class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly wheel = new DeadlineWheel({ clock: this.clock, tickMs: 5 });
  readonly streams = new DenoStreams(this.clock, this.wheel);

  add(awaitsContent = false): FakeStream {
    const stream = new FakeStream(this.clock.now());
    stream.awaitsContent = awaitsContent;
    this.streams.add(stream);
    return stream;
  }

  [Symbol.dispose](): void {
    this.streams[Symbol.dispose]();
    assertEquals(this.wheel.pending, 0);
  }
}

/** Whether a promise is settled, as soon as all that does not wait for the outside has run. */
async function isSettled(promise: Promise<void>): Promise<boolean> {
  let settled = false;
  promise.then(() => settled = true);
  for (let turn = 0; turn < 5; turn++) await null;
  return settled;
}

Deno.test("DenoStreams.untilQuiet() waits until the content of every request has been read, or the request is over", async () => {
  using bench = new Bench();
  const [, read, over] = [bench.add(), bench.add(true), bench.add(true)];
  const waiting = [bench.streams.untilQuiet(), bench.streams.untilQuiet()];
  bench.streams.progressed(over!, true);
  assertEquals(await isSettled(waiting[0]!), false);
  read!.awaitsContent = false;
  bench.streams.progressed(read!, false);
  for (const promise of waiting) assertEquals(await isSettled(promise), true);
  assertEquals(await isSettled(bench.streams.untilQuiet()), true);
});

Deno.test("DenoStreams lets go of each request once, wherever it stands", async () => {
  for (const gone of [0, 2, 4]) {
    using bench = new Bench();
    const added = [0, 1, 2, 3, 4].map(() => bench.add(true));
    for (let twice = 0; twice < 2; twice++) bench.streams.progressed(added[gone]!, true);
    for (const stream of added.filter((_, index) => index !== gone)) {
      assertEquals(await isSettled(bench.streams.untilQuiet()), false);
      bench.streams.progressed(stream, true);
    }
    assertEquals(await isSettled(bench.streams.untilQuiet()), true);
  }
});

Deno.test("DenoStreams has clients watched whose requests take long, and no others", async () => {
  using bench = new Bench();
  const slow = bench.add();
  const answered = bench.add();
  const over = bench.add();
  await bench.clock.advance(60);
  const young = bench.add();
  answered.unanswered = false;
  bench.streams.progressed(over, true);
  await bench.clock.advance(60);
  assertEquals([slow, answered, over, young].map(({ watches }) => watches), [1, 0, 0, 0]);
  await bench.clock.advance(100);
  assertEquals([slow, answered, over, young].map(({ watches }) => watches), [1, 0, 0, 1]);
  // Nobody is left to look at.
  assertEquals(bench.wheel.pending, 0);
  await bench.clock.advance(1000);
  const late = bench.add();
  await bench.clock.advance(200);
  assertEquals([slow.watches, late.watches], [1, 1]);
});
