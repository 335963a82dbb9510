import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  applyMask,
  closePayload,
  decodeText,
  frameBytes,
  isCloseCode,
  Masks,
  readClose,
  WebSocketProtocolError,
  writeFrame,
} from "../../../../lib/transport/websocket/frame.ts";
import { bytesOf, frame } from "../../../support/web_socket_frames.ts";

Deno.test("isCloseCode() knows each of the codes that a frame may carry (RFC 6455 section 7.4)", () => {
  const good: number[] = [];
  for (let code = 0; code <= 65535; code++) if (isCloseCode(code)) good.push(code);
  const ranges = [[1000, 1003], [1007, 1014], [3000, 4999]] as const;
  assertEquals(
    good,
    ranges.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
  );
});

Deno.test("readClose() reads codes and reasons", () => {
  const cases: [payload: number[], code: number, reason: string][] = [
    [[], 1005, ""],
    [[3, 0xe8], 1000, ""],
    [[3, 0xf6, 0x68, 0x69], 1014, "hi"],
    [[0x13, 0x87, 0xc3, 0xbc], 4999, "ü"],
    [[3, 0xe9, ...new Array(123).fill(0x78)], 1001, "x".repeat(123)],
    // A mark of the order of bytes is a character like any other.
    [[3, 0xe8, 0xef, 0xbb, 0xbf], 1000, "\ufeff"],
  ];
  for (const [payload, code, reason] of cases) {
    assertEquals(readClose(Uint8Array.from(payload)), { code, reason });
    assertEquals([...closePayload(code, reason)], payload);
  }
});

Deno.test("readClose() refuses half a code, codes that are not sent, and reasons that are not UTF-8", () => {
  const cases: [payload: number[], code: number][] = [
    [[3], 1002],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535].map((
      code,
    ): [number[], number] => [
      [code >> 8, code & 255],
      1002,
    ]),
    // A code that is wrong is told of before a reason that is.
    [[3, 0xec, 0xff], 1002],
    [[3, 0xe8, 0xff], 1007],
    // Cut off, a surrogate, overlong, above the last character.
    [[3, 0xe8, 0xe2, 0x82], 1007],
    [[3, 0xe8, 0xed, 0xa0, 0x80], 1007],
    [[3, 0xe8, 0xc0, 0xaf], 1007],
    [[3, 0xe8, 0xf4, 0x90, 0x80, 0x80], 1007],
  ];
  for (const [payload, code] of cases) {
    const error = assertThrows(() => readClose(Uint8Array.from(payload)), WebSocketProtocolError);
    assertEquals([payload, error.code], [payload, code]);
  }
});

Deno.test("closePayload() cuts a reason that is too long between two characters", () => {
  const payload = closePayload(1000, "x".repeat(122) + "ü");
  assertEquals([...payload.subarray(0, 2), payload.length], [3, 0xe8, 124]);
  assertEquals(readClose(payload), { code: 1000, reason: "x".repeat(122) });
});

Deno.test("decodeText() takes what is UTF-8 and nothing else", () => {
  assertEquals(decodeText(bytesOf("\xc3\xa4\xf0\x9f\x8e\x89")), "ä🎉");
  assertEquals(decodeText(bytesOf("\xef\xbb\xbfa")), "\ufeffa");
  for (const bad of ["\xff", "a\x80", "\xe2\x82", "\xed\xbf\xbf", "\xc1\xbf", "\xf5\x80\x80\x80"]) {
    assertEquals(assertThrows(() => decodeText(bytesOf(bad)), WebSocketProtocolError).code, 1007);
  }
});

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
