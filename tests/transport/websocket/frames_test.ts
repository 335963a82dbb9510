import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { encodeFrame, Masks } from "../../../lib/transport/websocket/encode_frame.ts";
import { isCloseCode, WebSocketProtocolError } from "../../../lib/transport/websocket/frame.ts";
import { FrameReader } from "../../../lib/transport/websocket/frame_reader.ts";
import { type Incoming, MessageReader } from "../../../lib/transport/websocket/message_reader.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Messages out of bytes that arrive in pieces. */
function reader(bytes: Bytes, pieces: readonly number[] = [], maxBytes = 1 << 20): MessageReader {
  let at = 0;
  let piece = 0;
  const read = (buffer: Bytes): Promise<number | null> => {
    if (at === bytes.length) return Promise.resolve(null);
    const wanted = pieces.length === 0 ? bytes.length : pieces[piece++ % pieces.length]!;
    const part = bytes.subarray(at, at + Math.min(wanted, buffer.length));
    buffer.set(part);
    at += part.length;
    return Promise.resolve(part.length);
  };
  const frames = new FrameReader({ read, first: new Uint8Array(0), maxBytes });
  return new MessageReader(frames, maxBytes);
}

async function readAll(messages: MessageReader): Promise<Incoming[]> {
  const all: Incoming[] = [];
  for (let next = await messages.next(); next !== null; next = await messages.next()) all.push(next);
  return all;
}

/** A frame as a server sends it, written as plainly as it goes. */
function serverFrame(opcode: number, payload: Uint8Array, fin = true): number[] {
  const { length } = payload;
  const size = length < 126
    ? [length]
    : length < 65536
    ? [126, length >> 8, length & 255]
    : [127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255];
  return [(fin ? 0x80 : 0) | opcode, ...size, ...payload];
}

const bytesOf = (text: string): Bytes => Uint8Array.from(text, (each) => each.charCodeAt(0));

Deno.test("encodeFrame() writes the masked example of RFC 6455 section 5.7", () => {
  const frame = encodeFrame(0x1, bytesOf("Hello"), Uint8Array.of(0x37, 0xfa, 0x21, 0x3d));
  assertEquals([...frame], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
});

Deno.test("encodeFrame() masks every length as a byte by byte model does", () => {
  const payload = fc.uint8Array({ maxLength: 300 });
  const mask = fc.uint8Array({ minLength: 4, maxLength: 4 });
  fc.assert(fc.property(payload, mask, (payload, mask) => {
    const frame = encodeFrame(0x2, payload, mask);
    const headLength = payload.length < 126 ? 6 : 8;
    assertEquals([...frame.subarray(headLength)], Array.from(payload, (byte, i) => byte ^ mask[i & 3]!));
    assertEquals([...frame.subarray(headLength - 4, headLength)], [...mask]);
  }));
});

Deno.test("encodeFrame() writes lengths in as many bytes as they need", () => {
  const heads = [125, 126, 65535, 65536, 16_777_217].map((length) => [
    ...encodeFrame(0x2, new Uint8Array(length), new Uint8Array(4)).subarray(1, 10),
  ]);
  assertEquals(heads[0]!.slice(0, 1), [0x80 | 125]);
  assertEquals(heads[1]!.slice(0, 3), [0x80 | 126, 0, 126]);
  assertEquals(heads[2]!.slice(0, 3), [0x80 | 126, 255, 255]);
  assertEquals(heads[3], [0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0]);
  assertEquals(heads[4], [0x80 | 127, 0, 0, 0, 0, 1, 0, 0, 1]);
});

Deno.test("Masks.next() does not repeat itself", () => {
  const masks = new Masks();
  const seen = new Set(Array.from({ length: 3000 }, () => masks.next().toHex()));
  assertEquals(seen.size > 2990, true);
});

Deno.test("MessageReader puts messages together however the bytes arrive", async () => {
  const message = fc.record({
    text: fc.boolean(),
    parts: fc.array(fc.string({ maxLength: 400, unit: "binary-ascii" }), { minLength: 1, maxLength: 4 }),
    ping: fc.boolean(),
  });
  const pieces = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 });
  await fc.assert(fc.asyncProperty(fc.array(message, { maxLength: 5 }), pieces, async (messages, pieces) => {
    const bytes = messages.flatMap(({ text, parts, ping }) =>
      parts.flatMap((part, i) => [
        ...serverFrame(i > 0 ? 0x0 : text ? 0x1 : 0x2, bytesOf(part), i === parts.length - 1),
        ...(ping ? serverFrame(0x9, bytesOf("p")) : []),
      ])
    );
    const all = await readAll(reader(Uint8Array.from(bytes), pieces));
    const received = all.flatMap((each) => each.kind === "message" ? [each.data] : []);
    assertEquals(
      received,
      messages.map(({ text, parts }) => text ? parts.join("") : bytesOf(parts.join(""))),
    );
  }));
});

Deno.test("MessageReader reads a frame that is larger than any buffer", async () => {
  const payload = Uint8Array.from({ length: 900_000 }, (_, i) => i % 251);
  const head = serverFrame(0x2, payload).slice(0, 10);
  const bytes = new Uint8Array(head.length + payload.length);
  bytes.set(head);
  bytes.set(payload, head.length);
  const [message] = await readAll(reader(bytes, [70_000, 3]));
  assertEquals(message, { kind: "message", data: payload, bytes: payload.length });
});

Deno.test("MessageReader refuses what a server must not send", async () => {
  const cases: [what: string, bytes: number[], code: number][] = [
    ["bits that were not agreed on", [0xc1, 0], 1002],
    ["a masked frame", [0x81, 0x80, 0, 0, 0, 0], 1002],
    ["a kind that does not exist", [0x83, 0], 1002],
    ["a kind of control that does not exist", [0x8b, 0], 1002],
    ["a ping in pieces", [0x09, 0], 1002],
    ["a ping that is too long", [0x89, 126, 0, 126], 1002],
    ["a message that goes on without a beginning", [0x80, 0], 1002],
    ["a message within another", [0x01, 0, 0x81, 0], 1002],
    ["a text that is not UTF-8", [0x81, 1, 0xff], 1007],
    ["half a code", [0x88, 1, 3], 1002],
    ["code 1005", [0x88, 2, 3, 0xed], 1002],
    ["code 999", [0x88, 2, 3, 0xe7], 1002],
    ["code 2000", [0x88, 2, 7, 0xd0], 1002],
    ["a reason that is not UTF-8", [0x88, 3, 3, 0xe8, 0xff], 1007],
    ["a length beyond all bounds", [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255], 1009],
    ["a frame that is too long", [0x82, 126, 4, 1], 1009],
    [
      "a message that is too long in pieces",
      [...serverFrame(0x2, new Uint8Array(1000), false), 0x80, 25],
      1009,
    ],
  ];
  for (const [what, bytes, code] of cases) {
    const padded = Uint8Array.from([...bytes, ...new Array(25).fill(0)]);
    const error = await assertRejects(() => readAll(reader(padded, [], 1024)), WebSocketProtocolError);
    assertEquals([what, error.code], [what, code]);
  }
});

Deno.test("MessageReader reads frames of closing", async () => {
  assertEquals(await reader(Uint8Array.of(0x88, 0)).next(), { kind: "close", code: 1005, reason: "" });
  assertEquals(await reader(Uint8Array.of(0x88, 4, 3, 0xe9, 0x68, 0x69)).next(), {
    kind: "close",
    code: 1001,
    reason: "hi",
  });
});

Deno.test("isCloseCode() knows the codes that a frame may carry", () => {
  const good = [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999];
  const bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535];
  assertEquals(good.map(isCloseCode), good.map(() => true));
  assertEquals(bad.map(isCloseCode), bad.map(() => false));
});
