import { assertEquals, assertThrows } from "@std/assert";
import {
  closePayload,
  decodeText,
  isCloseCode,
  readClose,
  WebSocketProtocolError,
} from "../../../../lib/transport/websocket/frame.ts";
import { bytesOf } from "../../../support/web_socket_frames.ts";

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
