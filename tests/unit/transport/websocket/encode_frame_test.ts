import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  applyMask,
  frameBytes,
  Masks,
  writeFrame,
} from "../../../../lib/transport/websocket/encode_frame.ts";
import { bytesOf, frame } from "../../../support/web_socket_frames.ts";

/** A frame with a buffer of its own. */
function written(opcode: number, payload: Uint8Array, mask: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(frameBytes(payload.length));
  assertEquals(writeFrame(bytes, 0, opcode, payload, mask), bytes.length);
  return bytes;
}

Deno.test("writeFrame() writes the masked example of RFC 6455 section 5.7", () => {
  const example = written(0x1, bytesOf("Hello"), Uint8Array.of(0x37, 0xfa, 0x21, 0x3d));
  assertEquals([...example], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
});

Deno.test("writeFrame() writes what a model does byte by byte, wherever the frame begins", () => {
  const payload = fc.uint8Array({ maxLength: 300 });
  const mask = fc.uint8Array({ minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(payload, mask, fc.integer({ min: 0, max: 9 }), (payload, mask, at) => {
      const bytes = new Uint8Array(at + frameBytes(payload.length) + 3);
      const end = writeFrame(bytes, at, 0x2, payload, mask);
      assertEquals([...bytes.subarray(at, end)], frame(0x2, payload, { mask: [...mask] }));
      assertEquals([...bytes.subarray(0, at), ...bytes.subarray(end)], new Array(at + 3).fill(0));
    }),
    { seed: 6455 },
  );
});

Deno.test("writeFrame() writes lengths in as few bytes as they take", () => {
  const heads = [125, 126, 65535, 65536, 16_777_217].map((length) => [
    ...written(0x2, new Uint8Array(length), new Uint8Array(4)).subarray(1, 10),
  ]);
  assertEquals(heads[0]!.slice(0, 1), [0x80 | 125]);
  assertEquals(heads[1]!.slice(0, 3), [0x80 | 126, 0, 126]);
  assertEquals(heads[2]!.slice(0, 3), [0x80 | 126, 255, 255]);
  assertEquals(heads[3], [0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0]);
  assertEquals(heads[4], [0x80 | 127, 0, 0, 0, 0, 1, 0, 0, 1]);
});

Deno.test("applyMask() gives the same in one go and in pieces, in any part of a buffer", () => {
  const pieces = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 6 });
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 4, maxLength: 200 }),
      pieces,
      fc.nat(7),
      (bytes, pieces, shift) => {
        const mask = bytes.subarray(0, 4);
        const room = new Uint8Array(shift + bytes.length).subarray(shift);
        room.set(bytes);
        let at = 0;
        for (const piece of [...pieces, bytes.length]) {
          const end = Math.min(at + piece, bytes.length);
          applyMask(room, at, end, mask, at);
          at = end;
        }
        assertEquals([...room], Array.from(bytes, (byte, i) => byte ^ mask[i & 3]!));
      },
    ),
    { seed: 6455 },
  );
});

Deno.test("Masks.next() does not repeat itself", () => {
  const masks = new Masks();
  const seen = new Set(Array.from({ length: 3000 }, () => masks.next().toHex()));
  assertEquals(seen.size > 2990, true);
});
