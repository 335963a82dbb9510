import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DeadlineWheel } from "../../lib/core/deadline_wheel.ts";
import { ClientGoneError, RequestError } from "../../lib/core/errors.ts";
import { ReplayBody } from "../../lib/proxy/replay_body.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { latin1Text, utf8Bytes } from "../support/raw_connection.ts";
import { streamOf } from "../support/request_body.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A body over a stream, with a clock of its own. */
function replay(source: ReadableStream<Bytes>, maxReplayBytes = 10): ReplayBody & { clock: FakeClock } {
  const clock = new FakeClock(0);
  const wheel = new DeadlineWheel({ clock, tickMs: 1 });
  const body = new ReplayBody(source, { length: null, wheel, idleMs: 1000, maxReplayBytes });
  return Object.assign(body, { clock });
}

/** Takes so many pieces and leaves the stream as a failed attempt would. */
async function take(stream: ReadableStream<Bytes>, pieces: number): Promise<string> {
  const reader = stream.getReader();
  let text = "";
  for (let i = 0; i < pieces; i++) {
    const { value } = await reader.read();
    if (value === undefined) break;
    text += latin1Text(value);
  }
  return text;
}

Deno.test("ReplayBody.open() gives every attempt the whole content, or refuses, in any chunking", async () => {
  const chunks = fc.array(fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 12 }), {
    maxLength: 8,
  });
  const reads = fc.array(fc.nat(9), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(chunks, reads, fc.nat(30), async (pieces, attempts, max) => {
      const body = replay(streamOf(pieces.map(utf8Bytes)), max);
      const whole = pieces.join("");
      // What has been read from the client so far, by whichever attempt came furthest.
      let furthest = 0;
      for (const count of attempts) {
        const fits = pieces.slice(0, furthest).join("").length <= max;
        assertEquals(body.replayable, fits);
        if (!fits) {
          assertThrows(() => body.open());
          return;
        }
        assertEquals(await take(body.open(), count), pieces.slice(0, count).join(""));
        furthest = Math.min(pieces.length, Math.max(furthest, count));
      }
      if (body.replayable) assertEquals(await take(body.open(), Infinity), whole);
    }),
    { seed: 20260301, numRuns: 400 },
  );
});

Deno.test("ReplayBody.open() gives the attempt that runs everything, however long", async () => {
  const pieces = Array.from({ length: 50 }, (_, i) => `piece ${i};`);
  const body = replay(streamOf(pieces.map(utf8Bytes)));
  assertEquals(await take(body.open(), Infinity), pieces.join(""));
  assertEquals(body.replayable, false);
});

Deno.test("ReplayBody.open() ends the streams that were given out before", async () => {
  const body = replay(streamOf(["ab", "cd"].map(utf8Bytes)));
  const first = body.open().getReader();
  assertEquals(latin1Text((await first.read()).value!), "ab");
  const second = body.open();
  assertEquals((await first.read()).done, true);
  assertEquals(await take(second, Infinity), "abcd");
});

Deno.test("ReplayBody.open() gives the piece that a failed attempt was waiting for to the next one", async () => {
  const arrives = Promise.withResolvers<void>();
  const source = new ReadableStream<Bytes>({
    async pull(controller) {
      await arrives.promise;
      controller.enqueue(utf8Bytes("late"));
      controller.close();
    },
  }, { highWaterMark: 0 });
  const body = replay(source);
  const first = body.open().getReader().read();
  const second = take(body.open(), Infinity);
  arrives.resolve();
  assertEquals([(await first).done, await second], [true, "late"]);
});

Deno.test("ReplayBody reads nothing that no attempt has asked for", async () => {
  let pulled = 0;
  const source = new ReadableStream<Bytes>({
    pull(controller) {
      pulled++;
      controller.enqueue(utf8Bytes("x"));
    },
  }, { highWaterMark: 0 });
  using body = replay(source);
  const stream = body.open();
  await Promise.resolve();
  assertEquals(pulled, 0);
  await take(stream, 3);
  assertEquals(pulled, 3);
});

Deno.test("ReplayBody fails with ClientGoneError when the client's content breaks off", async () => {
  const source = new ReadableStream<Bytes>({ pull: (controller) => controller.error(new Error("reset")) });
  const body = replay(source);
  const error = await assertRejects(() => take(body.open(), 1), ClientGoneError);
  assertEquals([body.failure, body.replayable, body.ended], [error, false, true]);
});

Deno.test("ReplayBody fails with 408 when the client pauses for too long, and lets its content go", async () => {
  let cancelled = false;
  const source = new ReadableStream<Bytes>({ cancel: () => void (cancelled = true) }, { highWaterMark: 0 });
  const body = replay(source);
  const reading = assertRejects(() => take(body.open(), 1), RequestError);
  await body.clock.advance(1100);
  assertEquals([(await reading).status, cancelled], [408, true]);
});

Deno.test("ReplayBody does not count the time in which nobody wants to read", async () => {
  const body = replay(streamOf(["a", "b"].map(utf8Bytes)));
  const reader = body.open().getReader();
  await reader.read();
  await body.clock.advance(5000);
  assertEquals(latin1Text((await reader.read()).value!), "b");
});

Deno.test("ReplayBody tells once that all has been read", async () => {
  const wheel = new DeadlineWheel({ clock: new FakeClock() });
  let ends = 0;
  const body = new ReplayBody(streamOf([utf8Bytes("abc")]), {
    length: 3,
    wheel,
    idleMs: 1000,
    onEnd: () => void ends++,
  });
  assertEquals([body.ended, body.length], [false, 3]);
  await take(body.open(), 1);
  assertEquals([body.ended, ends], [false, 0]);
  await take(body.open(), Infinity);
  await take(body.open(), Infinity);
  assertEquals([body.ended, ends], [true, 1]);
});

Deno.test("ReplayBody[Symbol.dispose]() cancels what has not been read; twice does nothing", () => {
  let cancels = 0;
  const body = replay(new ReadableStream<Bytes>({ cancel: () => void cancels++ }));
  body[Symbol.dispose]();
  body[Symbol.dispose]();
  assertEquals([cancels, body.replayable, body.ended], [1, false, true]);
});
