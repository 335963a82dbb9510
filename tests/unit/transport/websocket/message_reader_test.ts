import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { WebSocketProtocolError } from "../../../../lib/transport/websocket/frame.ts";
import { type Incoming, MessageReader } from "../../../../lib/transport/websocket/messages.ts";
import { bytesOf, frame } from "../../../support/web_socket_frames.ts";

const MASK = [0x37, 0xfa, 0x21, 0x3d];

interface Options {
  masked?: boolean;
  maxMessageBytes?: number;
  /** How much arrives at a time, again and again. @default {all} */
  pieces?: readonly number[];
  /** How much had arrived before. @default {0} */
  first?: number;
}

/** Everything that a reader makes of the bytes; the last is how it failed, if it did. */
function readAll(bytes: Uint8Array, options: Options = {}): (Incoming | string)[] {
  const { masked = false, maxMessageBytes = 1 << 20, pieces = [], first = 0 } = options;
  const reader = new MessageReader({ masked, maxMessageBytes, first: bytes.slice(0, first) });
  const all: (Incoming | string)[] = [];
  let at = Math.min(first, bytes.length);
  try {
    for (let i = 0;; i++) {
      for (let next = reader.next(); next !== null; next = reader.next()) all.push(next);
      if (at === bytes.length) return all;
      const { room } = reader;
      const size = Math.min(room.length, pieces.length === 0 ? bytes.length : pieces[i % pieces.length]!);
      const piece = bytes.subarray(at, at + size);
      room.set(piece);
      reader.filled(piece.length);
      at += piece.length;
    }
  } catch (error) {
    if (!(error instanceof WebSocketProtocolError)) throw error;
    return [...all, `${error.code} ${error.message}`];
  }
}

Deno.test("MessageReader puts messages together, however the bytes arrive", () => {
  const message = fc.record({
    text: fc.boolean(),
    parts: fc.array(fc.string({ maxLength: 400, unit: "binary-ascii" }), { minLength: 1, maxLength: 4 }),
    ping: fc.boolean(),
    masked: fc.boolean(),
  });
  const pieces = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 5 }),
      pieces,
      fc.boolean(),
      fc.nat(50),
      (messages, pieces, masked, first) => {
        const shape = masked ? { mask: MASK } : {};
        const bytes = messages.flatMap(({ text, parts, ping }) =>
          parts.flatMap((part, i) => [
            ...frame(i > 0 ? 0x0 : text ? 0x1 : 0x2, bytesOf(part), {
              ...shape,
              fin: i === parts.length - 1,
            }),
            ...(ping ? frame(0x9, bytesOf("p"), shape) : []),
          ])
        );
        const all = readAll(Uint8Array.from(bytes), { masked, pieces, first });
        assertEquals(
          all.flatMap((each) => typeof each !== "string" && each.kind === "message" ? [each.data] : []),
          messages.map(({ text, parts }) => text ? parts.join("") : bytesOf(parts.join(""))),
        );
      },
    ),
    { seed: 6455 },
  );
});

Deno.test("MessageReader gives the same, and fails the same, however the bytes are split", () => {
  const opcode = fc.constantFrom(0x0, 0x0, 0x1, 0x1, 0x2, 0x8, 0x9, 0xa);
  // Some of it no UTF-8, and some no code of closing.
  const payload = fc.oneof(
    fc.string({ maxLength: 12, unit: "grapheme" }).map((text) => new TextEncoder().encode(text)),
    fc.uint8Array({ maxLength: 12 }),
    fc.constant(Uint8Array.of(3, 0xf6, 0x68)),
  );
  const frames = fc.array(fc.record({ opcode, payload, fin: fc.boolean() }), { maxLength: 8 });
  const pieces = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(frames, pieces, fc.boolean(), fc.nat(20), (frames, pieces, masked, first) => {
      const shape = masked ? { mask: MASK } : {};
      const bytes = Uint8Array.from(
        frames.flatMap(({ opcode, payload, fin }) => frame(opcode, payload, { ...shape, fin })),
      );
      const whole = readAll(bytes, { masked, maxMessageBytes: 20 });
      assertEquals(readAll(bytes, { masked, maxMessageBytes: 20, pieces, first }), whole);
      assertEquals(readAll(bytes, { masked, maxMessageBytes: 20, pieces: [1] }), whole);
    }),
    { seed: 6455, numRuns: 500 },
  );
});

Deno.test("MessageReader reads frames that are larger than any buffer, and what is behind them", () => {
  const payload = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);
  for (const shape of [{}, { mask: MASK }]) {
    const masked = "mask" in shape;
    const bytes = Uint8Array.from([
      ...frame(0x2, payload.subarray(0, 100_000), { ...shape, fin: false }),
      ...frame(0x9, [], shape),
      ...frame(0x0, payload.subarray(100_000), shape),
      ...frame(0x1, bytesOf("end"), shape),
    ]);
    for (const pieces of [[], [70_001, 3], [8192], [8193]]) {
      const [ping, message, end] = readAll(bytes, { masked, pieces });
      assertEquals(ping, { kind: "ping", payload: new Uint8Array(0) });
      const { data, ...rest } = message as Incoming & { kind: "message" };
      assertEquals(rest, { kind: "message", bytes: payload.length });
      assertEquals((data as Uint8Array).every((byte, i) => byte === i % 251), true);
      assertEquals(end, { kind: "message", data: "end", bytes: 3 });
    }
  }
});

Deno.test("MessageReader refuses texts that are not UTF-8, whole or in pieces, and bad close frames", () => {
  const cases: [what: string, bytes: number[], outcome: string][] = [
    ["a text", frame(0x1, [0xff]), "1007 a text is not UTF-8"],
    ["a text that ends in a character", frame(0x1, [0xe2, 0x82]), "1007 a text is not UTF-8"],
    [
      "a text in pieces",
      [...frame(0x1, [0xe2], { fin: false }), ...frame(0x0, [0x28])],
      "1007 a text is not UTF-8",
    ],
    ["half a code", frame(0x8, [3]), "1002 a close frame has half a code"],
    ["code 1005", frame(0x8, [3, 0xed]), "1002 a close frame has the code 1005"],
    ["a reason", frame(0x8, [3, 0xe8, 0xff]), "1007 a text is not UTF-8"],
  ];
  for (const [what, bytes, outcome] of cases) {
    assertEquals([what, readAll(Uint8Array.from(bytes))], [what, [outcome]]);
  }
  // A character may be split between two frames, and binaries are no texts.
  const split = [...frame(0x1, [0xe2, 0x82], { fin: false }), ...frame(0x0, [0xac]), ...frame(0x2, [0xff])];
  assertEquals(readAll(Uint8Array.from(split)), [
    { kind: "message", data: "€", bytes: 3 },
    { kind: "message", data: Uint8Array.of(0xff), bytes: 1 },
  ]);
});

Deno.test("MessageReader reads close frames, and nothing behind them", () => {
  const bytes = [...frame(0xa, [1]), ...frame(0x8, [3, 0xf6, 0x68, 0x69]), ...frame(0x1)];
  assertEquals(readAll(Uint8Array.from(bytes)), [
    { kind: "pong", payload: Uint8Array.of(1) },
    { kind: "close", code: 1014, reason: "hi" },
  ]);
  assertEquals(readAll(Uint8Array.from(frame(0x8))), [{ kind: "close", code: 1005, reason: "" }]);
});

Deno.test("MessageReader keeps no more of frames of one byte than their bytes", () => {
  const frames = 200_000;
  const bytes = new Uint8Array(3 * frames);
  for (let i = 0; i < bytes.length; i += 3) bytes.set([i === 0 ? 0x02 : 0x00, 1, 7], i);
  const reader = new MessageReader({ masked: false, maxMessageBytes: 1 << 20, first: bytes });
  const before = Deno.memoryUsage();
  assertEquals(reader.next(), null);
  const after = Deno.memoryUsage();
  const kept = after.heapUsed + after.external - before.heapUsed - before.external;
  // An object a frame would be 20 MB and more.
  assertEquals(kept < 5_000_000, true, `${kept} bytes`);
  reader.room.set(frame(0x0, [8]));
  reader.filled(3);
  const message = reader.next() as Incoming & { kind: "message" };
  assertEquals([message.bytes, (message.data as Uint8Array).at(-1)], [frames + 1, 8]);
});
