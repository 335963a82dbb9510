import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ClientGoneError, RequestError } from "../../../lib/core/errors.ts";
import { type Body, type Bytes, StreamBody, WholeBody } from "../../../lib/http/message.ts";
import { KeptBody } from "../../../lib/proxy/kept_body.ts";
import { latin1Text, utf8Bytes } from "../../support/raw_connection.ts";
import { streamOf } from "../../support/request_body.ts";

/** Content in pieces that are lent: each stands in the bytes of the one before. */
class LentBody implements Body {
  readonly length = null;
  readonly ready = null;
  readonly whole = null;
  readonly trailers: readonly string[] = ["x", "1"];
  readonly #pieces: readonly string[];
  readonly #bytes: Bytes = new Uint8Array(64);
  #next = 0;

  constructor(pieces: readonly string[]) {
    this.#pieces = pieces;
  }

  async read(): Promise<Bytes | null> {
    await null;
    this.#bytes.fill(0x21);
    const piece = this.#pieces[this.#next++];
    if (piece === undefined) return null;
    const { written } = new TextEncoder().encodeInto(piece, this.#bytes);
    return this.#bytes.subarray(0, written);
  }

  cancel(): void {}
}

function kept(pieces: readonly string[], maxKeptBytes = 10): KeptBody {
  return new KeptBody(new LentBody(pieces), { maxKeptBytes });
}

/** Takes so many pieces, as an attempt does that fails then. */
async function take(body: Body, pieces: number): Promise<string> {
  let text = "";
  for (let i = 0; i < pieces; i++) {
    const piece = await body.read();
    if (piece === null) break;
    text += latin1Text(piece);
  }
  return text;
}

Deno.test("KeptBody gives every attempt the whole content, or refuses, in any pieces", async () => {
  const texts = fc.array(fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 12 }), {
    maxLength: 8,
  });
  const reads = fc.array(fc.nat(9), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(texts, reads, fc.nat(30), async (pieces, attempts, max) => {
      const body = kept(pieces, max);
      const whole = pieces.join("");
      // What has been read from the client so far, by whichever attempt came furthest.
      let furthest = 0;
      for (const count of attempts) {
        const fits = pieces.slice(0, furthest).join("").length <= max;
        assertEquals(body.repeatable, fits);
        if (!fits) {
          assertThrows(() => body.rewind());
          return;
        }
        body.rewind();
        assertEquals(await take(body, count), pieces.slice(0, count).join(""));
        furthest = Math.min(pieces.length, Math.max(furthest, count));
      }
      if (!body.repeatable) return;
      body.rewind();
      assertEquals(await take(body, Infinity), whole);
    }),
    { seed: 20260301, numRuns: 400 },
  );
});

Deno.test("KeptBody loses nothing to attempts that fail while they wait for a piece", async () => {
  const texts = fc.array(fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 12 }), {
    maxLength: 8,
  });
  const reads = fc.array(fc.nat(4), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(texts, reads, fc.nat(60), async (pieces, attempts, max) => {
      const body = kept(pieces, max);
      for (const count of attempts) {
        assertEquals(await take(body, count), pieces.slice(0, count).join(""));
        body.read();
        if (!body.repeatable) return;
        body.rewind();
      }
      assertEquals(await take(body, Infinity), pieces.join(""));
    }),
    { seed: 20260302, numRuns: 1000 },
  );
});

Deno.test("KeptBody gives the attempt that runs everything, however long", async () => {
  const pieces = Array.from({ length: 50 }, (_, i) => `piece ${i};`);
  const body = kept(pieces);
  assertEquals(await take(body, Infinity), pieces.join(""));
  assertEquals(body.repeatable, false);
});

Deno.test("KeptBody gives the piece that a failed attempt was waiting for to the next one", async () => {
  const arrives = Promise.withResolvers<void>();
  const source = new ReadableStream<Bytes>({
    async pull(controller) {
      await arrives.promise;
      controller.enqueue(utf8Bytes("late"));
      controller.close();
    },
  }, { highWaterMark: 0 });
  const body = new KeptBody(new StreamBody(source));
  body.read();
  body.rewind();
  const second = take(body, Infinity);
  arrives.resolve();
  assertEquals(await second, "late");
});

Deno.test("KeptBody reads nothing that no attempt has asked for", async () => {
  let pulled = 0;
  const source = new ReadableStream<Bytes>({
    pull(controller) {
      pulled++;
      controller.enqueue(utf8Bytes("x"));
    },
  }, { highWaterMark: 0 });
  const body = new KeptBody(new StreamBody(source));
  await Promise.resolve();
  assertEquals(pulled, 0);
  await take(body, 3);
  assertEquals(pulled, 3);
  body.rewind();
  await take(body, 3);
  assertEquals(pulled, 3);
});

Deno.test("KeptBody fails with ClientGoneError when the client's content breaks off", async () => {
  const source = new ReadableStream<Bytes>({ pull: (controller) => controller.error(new Error("reset")) });
  const body = new KeptBody(new StreamBody(source));
  const error = await assertRejects(() => body.read(), ClientGoneError);
  assertEquals([body.failure, body.repeatable, body.ended], [error, false, true]);
  assertEquals(await assertRejects(() => body.read()), error);
});

Deno.test("KeptBody fails with what the source or `explain` says, at an end that is none as well", async () => {
  const slow = new RequestError("too slow", 408);
  const source = { ...EMPTY, read: () => Promise.reject(slow) };
  const body = new KeptBody(source);
  assertEquals([await assertRejects(() => body.read()), body.failure], [slow, slow]);
  for (const end of [() => Promise.reject(new Error("broken")), () => Promise.resolve(null)]) {
    const explained = new KeptBody({ ...EMPTY, read: end }, { explain: () => slow });
    assertEquals([await assertRejects(() => explained.read()), explained.failure], [slow, slow]);
  }
});

const EMPTY: Body = {
  length: null,
  ready: null,
  whole: null,
  trailers: [],
  read: () => Promise.resolve(null),
  cancel() {},
};

Deno.test("KeptBody knows when all has been read", async () => {
  const body = new KeptBody(new StreamBody(streamOf([utf8Bytes("abc")]), 3));
  assertEquals([body.ended, body.length], [false, 3]);
  await take(body, 1);
  assertEquals(body.ended, false);
  await take(body, Infinity);
  assertEquals([body.ended, body.repeatable, await body.read()], [true, true, null]);
  body.rewind();
  assertEquals(await take(body, Infinity), "abc");
  assertEquals(kept([]).trailers, ["x", "1"]);
});

Deno.test("KeptBody leaves content that is at hand where it is, for every attempt", async () => {
  const large = utf8Bytes("x".repeat(100));
  const body = new KeptBody(new WholeBody(large), { maxKeptBytes: 10 });
  for (let attempt = 0; attempt < 3; attempt++) {
    assertEquals([body.whole, body.ready, body.length], [large, large, 100]);
    assertEquals([body.ended, body.repeatable], [true, true]);
    body.rewind();
  }
  // Whoever reads it has the piece, and what is at hand is not all any more.
  assertEquals((await body.read())!.length, 100);
  assertEquals([body.whole, await body.read()], [null, null]);
});

Deno.test("KeptBody.ready is the piece that read() gives at once", async () => {
  const body = kept(["a", "b"]);
  assertEquals(body.ready, null);
  await take(body, 2);
  body.rewind();
  for (const text of ["a", "b"]) {
    assertEquals(latin1Text(body.ready!), text);
    assertEquals(latin1Text((await body.read())!), text);
  }
  assertEquals(body.ready, null);
});

Deno.test("KeptBody.cancel() cancels what has not been read; twice does nothing, nor at the end", async () => {
  let cancels: unknown[] = [];
  const source = new ReadableStream<Bytes>({ cancel: (reason) => void cancels.push(reason) });
  const body = new KeptBody(new StreamBody(source));
  body.cancel("enough");
  body.cancel("again");
  assertEquals([cancels, body.repeatable, body.ended, await body.read()], [["enough"], false, true, null]);
  cancels = [];
  const read = new KeptBody({ ...EMPTY, cancel: (reason) => void cancels.push(reason) });
  await read.read();
  read.cancel("late");
  assertEquals(cancels, []);
});
