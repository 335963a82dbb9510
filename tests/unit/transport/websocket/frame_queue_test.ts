import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FrameQueue, type Incoming, MessageReader } from "../../../../lib/transport/websocket/messages.ts";
import { bytesOf } from "../../../support/web_socket_frames.ts";

/** What a server would see. */
function received(...writes: (Uint8Array | null)[]): Incoming[] {
  const bytes = writes.flatMap((each) => each === null ? [] : [...each]);
  const reader = new MessageReader({ masked: true, maxMessageBytes: 1 << 24, first: Uint8Array.from(bytes) });
  const all: Incoming[] = [];
  for (let next = reader.next(); next !== null; next = reader.next()) all.push(next);
  return all;
}

/** All that is to be written. */
function takeAll(queue: FrameQueue): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (let next = queue.take(); next !== null; next = queue.take()) all.push(next);
  return all;
}

Deno.test("FrameQueue gives back what was added, in order, whenever something is taken", () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.uint8Array({ maxLength: 300 }) },
    {
      weight: 1,
      arbitrary: fc.integer({ min: 60_000, max: 70_000 }).map((length) => new Uint8Array(length)),
    },
    { weight: 2, arbitrary: fc.constant(null) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const queue = new FrameQueue();
      const writes: (Uint8Array | null)[] = [];
      for (const step of steps) {
        if (step === null) writes.push(queue.take());
        else queue.push(0x2, step);
      }
      writes.push(...takeAll(queue));
      assertEquals(queue.bytes, 0);
      assertEquals(
        received(...writes).map((each) => each.kind === "message" ? each.data : each.kind),
        steps.filter((step) => step !== null),
      );
    }),
    { seed: 6455, numRuns: 50 },
  );
});

Deno.test("FrameQueue counts what waits and what is being written, and has short frames share", () => {
  const queue = new FrameQueue();
  queue.push(0x2, bytesOf("a"));
  assertEquals(queue.take()!.length, 7);
  assertEquals(queue.bytes, 7);
  for (let i = 0; i < 100_000; i++) queue.push(0x1, new Uint8Array(0));
  assertEquals(queue.bytes, 600_007);
  const writes = takeAll(queue);
  assertEquals([writes.length < 25, queue.bytes], [true, 0], `${writes.length} writes`);
});

Deno.test("FrameQueue keeps one ping and the last pong, and has them leave first", () => {
  const queue = new FrameQueue();
  queue.push(0x1, bytesOf("data"));
  for (let i = 0; i < 1000; i++) {
    queue.ping(bytesOf(String(i)));
    queue.pong(bytesOf(String(i)));
  }
  const writes = takeAll(queue);
  assertEquals(writes.map(({ length }) => length), [9 + 9, 10]);
  assertEquals(received(...writes), [
    { kind: "pong", payload: bytesOf("999") },
    { kind: "ping", payload: bytesOf("999") },
    { kind: "message", data: "data", bytes: 4 },
  ]);
  assertEquals(queue.take(), null);
});

Deno.test("FrameQueue has nothing behind a close frame, and drops what was not taken", () => {
  const queue = new FrameQueue();
  queue.push(0x1, bytesOf("first"));
  const first = queue.take();
  queue.push(0x1, bytesOf("dropped"));
  queue.ping(bytesOf("p"));
  queue.clear();
  queue.push(0x1, bytesOf("last"));
  queue.close(Uint8Array.of(3, 0xe8));
  queue.pong(bytesOf("p"));
  const writes = takeAll(queue);
  queue.ping(bytesOf("p"));
  queue.pong(bytesOf("p"));
  queue.push(0x1, bytesOf("late"));
  queue.close(Uint8Array.of(3, 0xe9));
  assertEquals(queue.take(), null);
  assertEquals(received(first, ...writes), [
    { kind: "message", data: "first", bytes: 5 },
    { kind: "pong", payload: bytesOf("p") },
    { kind: "message", data: "last", bytes: 4 },
    { kind: "close", code: 1000, reason: "" },
  ]);
});
