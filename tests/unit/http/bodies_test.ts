import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { type Body, type Bytes, StreamBody, streamOf, WholeBody } from "../../../lib/http/message.ts";
import { latin1Bytes } from "../../support/raw_connection.ts";

async function readAll(body: Body): Promise<string[]> {
  const pieces: string[] = [];
  for (let piece = await body.read(); piece !== null; piece = await body.read()) {
    pieces.push(String.fromCharCode(...piece));
  }
  return pieces;
}

Deno.test("WholeBody is at hand until it is read, once", async () => {
  const bytes = latin1Bytes("abc");
  const body = new WholeBody(bytes);
  assertEquals([body.length, body.ready, body.whole, body.trailers.length], [3, bytes, bytes, 0]);
  assertStrictEquals(await body.read(), bytes);
  assertEquals([body.length, body.ready, body.whole, await body.read()], [3, null, null, null]);
  assertEquals(await readAll(new WholeBody(new Uint8Array(0))), []);
  const cancelled = new WholeBody(bytes);
  cancelled.cancel();
  assertEquals([cancelled.whole, await cancelled.read()], [null, null]);
});

Deno.test("StreamBody reads a stream piece by piece, and no sooner than it is asked", async () => {
  let pulled = 0;
  const stream = new ReadableStream<Bytes>({
    pull(controller) {
      if (++pulled > 2) controller.close();
      else controller.enqueue(latin1Bytes(`${pulled}`));
    },
  }, { highWaterMark: 0 });
  const body = new StreamBody(stream, 2);
  assertEquals([body.length, body.ready, body.whole, pulled], [2, null, null, 0]);
  assertEquals([await readAll(body), pulled], [["1", "2"], 3]);
  body.cancel();
});

Deno.test("StreamBody.cancel() tells the stream why, before and after the first read", async () => {
  for (const reads of [0, 1]) {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const stream = new ReadableStream<Bytes>({
      pull: (controller) => controller.enqueue(latin1Bytes("a")),
      cancel: resolve,
    });
    const body = new StreamBody(stream);
    for (let i = 0; i < reads; i++) await body.read();
    body.cancel("enough");
    assertEquals(await promise, "enough");
  }
});

Deno.test("streamOf() gives pieces that may be kept, the failure, and the wish to stop", async () => {
  const lent = latin1Bytes("a");
  let left = 2;
  let reason: unknown;
  const body: Body = {
    ...{ length: null, ready: null, whole: null, trailers: [] },
    read() {
      if (left-- === 0) return Promise.reject(new Error("broken"));
      lent[0]!++;
      return Promise.resolve(lent);
    },
    cancel: (given) => reason = given,
  };
  const reader = streamOf(body).getReader();
  const first = await reader.read();
  const second = await reader.read();
  assertEquals([first.value, second.value], [latin1Bytes("b"), latin1Bytes("c")]);
  await assertRejects(() => reader.read(), Error, "broken");
  left = 1;
  await streamOf(body).cancel("enough");
  assertEquals([reason, left], ["enough", 1]);
  assertEquals(await new Response(streamOf(new WholeBody(latin1Bytes("abc")))).text(), "abc");
});
