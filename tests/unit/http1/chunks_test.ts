import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  HeadWriter,
  UnwritableHeadError,
  writeChunk,
  writeLastChunk,
} from "../../../lib/http1/head_writer.ts";
import { latin1Bytes, latin1Text } from "../../support/raw_connection.ts";
import { readInPieces } from "../../support/read_in_pieces.ts";

function written(pieces: readonly Uint8Array[], trailers: readonly string[] = []): string {
  const writer = new HeadWriter(new Uint8Array(0));
  for (const piece of pieces) writeChunk(writer, piece);
  writeLastChunk(writer, trailers);
  return latin1Text(writer.bytes.subarray(0, writer.length));
}

Deno.test("writeChunk() writes a piece with its size, and no empty one", () => {
  const pieces = [latin1Bytes("abc"), new Uint8Array(0), latin1Bytes("x".repeat(26))];
  assertEquals(written(pieces), `3\r\nabc\r\n1a\r\n${"x".repeat(26)}\r\n0\r\n\r\n`);
});

Deno.test("writeLastChunk() writes trailers, and none that would end the section", () => {
  assertEquals(written([], ["grpc-status", "0", "x", ""]), "0\r\ngrpc-status: 0\r\nx: \r\n\r\n");
  for (const trailers of [["x", "a\r\nb"], ["x\r\n", "a"], ["", "a"]]) {
    assertThrows(() => written([], trailers), UnwritableHeadError);
  }
});

Deno.test("what writeChunk() and writeLastChunk() write is read as it was", () => {
  const trailer = fc.tuple(fc.constantFrom("x", "etag", "grpc-message"), fc.constantFrom("", "a", "\xe9 b"));
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
      fc.array(trailer, { maxLength: 3 }),
      fc.array(fc.nat(2000), { maxLength: 10 }),
      (pieces, fields, places) => {
        const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        const bytes = latin1Bytes(`${head}${written(pieces, fields.flat())}left`);
        const cuts = places.map((place) => Math.min(place, bytes.length)).sort((a, b) => a - b);
        const { outcome, content, trailers, left } = readInPieces(bytes, cuts);
        const sent = pieces.map(latin1Text).join("");
        assertEquals([outcome, content, trailers, left], ["complete", sent, fields.flat(), 4]);
      },
    ),
    { seed: 5, numRuns: 500 },
  );
});
