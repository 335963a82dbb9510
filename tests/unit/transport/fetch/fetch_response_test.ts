import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Download } from "../../../../lib/transport/fetch/fetch_messages.ts";

function bytesOf(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => i % 251);
}

/** A body of `fetch` that comes in pieces of these lengths. */
function bodyOf(pieces: readonly Uint8Array<ArrayBuffer>[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  const left = [...pieces];
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      const piece = left.shift();
      if (piece !== undefined) return controller.enqueue(piece);
      controller.close();
      controller.byobRequest?.respond(0);
    },
  });
}

Deno.test("Download.read() gives all of the content, whatever length is said and however it comes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 70_000 }), { maxLength: 5 }),
      fc.oneof(fc.constant("right"), fc.constant(Infinity), fc.integer({ min: 1, max: 200_000 })),
      async (lengths, said) => {
        const total = lengths.reduce((sum, length) => sum + length, 0);
        const all = bytesOf(total);
        let at = 0;
        const pieces = lengths.map((length) => all.slice(at, at += length));
        const download = new Download(bodyOf(pieces), said === "right" ? total : said as number);
        const seen = new Uint8Array(total);
        let filled = 0;
        for (let piece = await download.read(); piece !== null; piece = await download.read()) {
          seen.set(piece, filled);
          filled += piece.length;
        }
        assertEquals(filled, total);
        assertEquals(seen, all);
      },
    ),
    { seed: 5, numRuns: 60 },
  );
});

Deno.test("Download.read() makes no larger buffers than the content needs", async () => {
  const download = new Download(bodyOf([bytesOf(12)]), 12);
  const piece = await download.read();
  assertEquals([piece?.length, piece?.buffer.byteLength], [12, 12]);
  assertEquals(await download.read(), null);
});

Deno.test("Download.cancel() cancels the body", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({ type: "bytes", cancel: () => resolve() });
  new Download(body, Infinity).cancel();
  await promise;
});
