import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { WebSocketProtocolError } from "../../../../lib/transport/websocket/frame.ts";
import { FrameParser, MAX_MESSAGE_FRAMES } from "../../../../lib/transport/websocket/frame_parser.ts";
import { bytesOf, frame, type FrameShape } from "../../../support/web_socket_frames.ts";

const MASK = [0x37, 0xfa, 0x21, 0x3d];
/** Frames of servers, and of clients. */
const DIRECTIONS: { masked: boolean; shape: FrameShape }[] = [
  { masked: false, shape: {} },
  { masked: true, shape: { mask: MASK } },
];

/** One thing that a parser came to, pieces of a message taken together. */
type Found = { opcode: number; payload: string } | { text: boolean; data: string };

/** What a parser finds when the bytes come in pieces of these sizes, again and again; and how it fails. */
function parse(
  bytes: readonly number[],
  { masked, pieces = [], maxMessageBytes = 1 << 20 }: {
    masked: boolean;
    pieces?: readonly number[];
    maxMessageBytes?: number;
  },
): { found: Found[]; failure: string | null } {
  const parser = new FrameParser({ masked, maxMessageBytes });
  const found: Found[] = [];
  let data = "";
  try {
    let turn = 0;
    for (let begin = 0; begin < bytes.length;) {
      const size = pieces.length === 0 ? bytes.length : pieces[turn++ % pieces.length]!;
      const piece = Uint8Array.from(bytes.slice(begin, begin + size));
      begin += piece.length;
      for (let at = 0; at < piece.length;) {
        at = parser.next(piece, at, piece.length);
        if (parser.event === "control") {
          found.push({ opcode: parser.opcode, payload: String.fromCharCode(...parser.payload) });
        } else if (parser.event === "data") {
          for (let j = parser.from; j < parser.to; j++) {
            const mask = masked ? parser.mask[(parser.offset + j - parser.from) & 3]! : 0;
            data += String.fromCharCode(piece[j]! ^ mask);
          }
          if (!parser.messageEnd) continue;
          assertEquals(parser.messageBytes, data.length);
          found.push({ text: parser.text, data });
          data = "";
        }
      }
    }
    return { found, failure: null };
  } catch (error) {
    if (!(error instanceof WebSocketProtocolError)) throw error;
    return { found, failure: `${error.code} ${error.message}` };
  }
}

Deno.test("FrameParser finds messages and control frames of both directions", () => {
  for (const { masked, shape } of DIRECTIONS) {
    const piece = { ...shape, fin: false };
    const bytes = [
      ...frame(0x1, bytesOf("Hello"), shape),
      ...frame(0x2, [], shape),
      ...frame(0x2, new Uint8Array(126), shape),
      ...frame(0x2, new Uint8Array(65536), shape),
      ...frame(0x9, bytesOf("p"), shape),
      // In pieces, some of them empty, with control frames between.
      ...frame(0x1, bytesOf("Hel"), piece),
      ...frame(0x0, [], piece),
      ...frame(0xa, bytesOf("x".repeat(125)), shape),
      ...frame(0x0, bytesOf("lo"), piece),
      ...frame(0x9, [], shape),
      ...frame(0x0, [], shape),
      ...frame(0x8, [3, 0xe8], shape),
      // Behind a close frame there is nothing.
      ...frame(0x8, [3], shape),
      0xff,
    ];
    assertEquals(parse(bytes, { masked }), {
      found: [
        { text: true, data: "Hello" },
        { text: false, data: "" },
        { text: false, data: "\0".repeat(126) },
        { text: false, data: "\0".repeat(65536) },
        { opcode: 0x9, payload: "p" },
        { opcode: 0xa, payload: "x".repeat(125) },
        { opcode: 0x9, payload: "" },
        { text: true, data: "Hello" },
        { opcode: 0x8, payload: "\x03\xe8" },
      ],
      failure: null,
    });
  }
});

Deno.test("FrameParser refuses what RFC 6455 does not allow, in both directions", () => {
  const reserved = "1002 a frame has bits that were not agreed on";
  const pieces = "1002 a control frame is in pieces";
  const long = "1002 a control frame is longer than 125 bytes";
  const kind = (opcode: number) => `1002 a frame is of kind ${opcode}, which does not exist`;
  const length = "1002 the length of a frame is written in more bytes than it takes";
  const topBit = "1002 the length of a frame has its highest bit set";
  const bounds = "1009 a message is longer than 1024 bytes";
  // The second byte goes without the mask's bit, which is added for clients; the mask is left out.
  const cases: [what: string, bytes: number[], failure: string][] = [
    ["RSV1", [0xc1, 0], reserved],
    ["RSV2", [0xa1, 0], reserved],
    ["RSV3", [0x91, 0], reserved],
    ["RSV1 of a ping", [0xc9, 0], reserved],
    ...[0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf].map((opcode): [string, number[], string] => [
      `opcode ${opcode}`,
      [0x80 | opcode, 0],
      kind(opcode),
    ]),
    ["an unknown control frame in pieces", [0x0b, 0], kind(11)],
    ["a ping in pieces", [0x09, 0], pieces],
    ["a pong in pieces", [0x0a, 0], pieces],
    ["a close frame in pieces", [0x08, 0], pieces],
    ["a ping of 126 bytes", [0x89, 126, 0, 126], long],
    ["a pong of 126 bytes", [0x8a, 126, 0, 126], long],
    ["a close frame of 126 bytes", [0x88, 126, 0, 126], long],
    ["a close frame of 65536 bytes", [0x88, 127, 0, 0, 0, 0, 0, 1, 0, 0], long],
    // However it goes on: a control frame has no longer forms of a length.
    ["a ping of 5 bytes written as 126", [0x89, 126, 0, 5], long],
    ["a message that goes on without a beginning", [0x80, 0], "1002 a message goes on that did not begin"],
    ["125 in two bytes", [0x82, 126, 0, 125], length],
    ["0 in two bytes", [0x82, 126, 0, 0], length],
    ["65535 in eight bytes", [0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255], length],
    ["0 in eight bytes", [0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0], length],
    ["2^63", [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], topBit],
    ["2^64 - 1", [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255], topBit],
    ["2^63 - 1", [0x82, 127, 127, 255, 255, 255, 255, 255, 255, 255], bounds],
    ["1025 bytes", [0x82, 126, 4, 1], bounds],
  ];
  for (const { masked } of DIRECTIONS) {
    for (const [what, [first, second, ...rest], failure] of cases) {
      const bytes = [first!, masked ? second! | 0x80 : second!, ...rest, ...new Array(30).fill(0)];
      for (const pieces of [[], [1], [2], [3]]) {
        const outcome = parse(bytes, { masked, pieces, maxMessageBytes: 1024 });
        assertEquals([what, outcome], [what, { found: [], failure }]);
      }
    }
  }
});

Deno.test("FrameParser refuses masks of servers, and clients without one", () => {
  const [server, client] = ["1002 a frame of a server is masked", "1002 a frame of a client is not masked"];
  for (const opcode of [0x1, 0x2, 0x8, 0x9, 0xa]) {
    assertEquals(parse(frame(opcode, [], { mask: MASK }), { masked: false }).failure, server);
    assertEquals(parse(frame(opcode), { masked: true }).failure, client);
  }
});

Deno.test("FrameParser refuses messages within another, and bounds what comes in pieces", () => {
  for (const { masked, shape } of DIRECTIONS) {
    const piece = { ...shape, fin: false };
    for (const opcode of [0x1, 0x2]) {
      assertEquals(
        parse([...frame(0x1, [], piece), ...frame(opcode, [], shape)], { masked }).failure,
        "1002 a message begins within another",
      );
    }
    const bytes = [...frame(0x2, new Uint8Array(1000), piece), ...frame(0x0, new Uint8Array(24), piece)];
    const bounds = { masked, maxMessageBytes: 1024 };
    assertEquals(parse([...bytes, ...frame(0x0, [], shape)], bounds).found.length, 1);
    assertEquals(
      parse([...bytes, ...frame(0x0, [0], shape)], bounds).failure,
      "1009 a message is longer than 1024 bytes",
    );
    // The next message begins anew.
    assertEquals(parse([...frame(0x2, new Uint8Array(1024), shape), ...bytes], bounds).failure, null);
  }
});

Deno.test("FrameParser bounds the frames of a message, however empty", () => {
  const empties = new Uint8Array(2 * MAX_MESSAGE_FRAMES);
  empties[0] = 0x01;
  const parser = new FrameParser({ masked: false, maxMessageBytes: 0 });
  assertEquals(parser.next(empties, 0, empties.length), empties.length);
  const error = assertThrows(() => parser.next(Uint8Array.of(0x80, 0), 0, 2), WebSocketProtocolError);
  assertEquals([error.code, error.message], [1008, `a message is in more than ${MAX_MESSAGE_FRAMES} frames`]);
  // One that ends with the last frame that is allowed, and the next begins anew.
  empties[empties.length - 2] = 0x80;
  const other = new FrameParser({ masked: false, maxMessageBytes: 0 });
  for (let message = 0; message < 2; message++) {
    assertEquals(other.next(empties, 0, empties.length), empties.length);
    assertEquals([other.event, other.messageEnd], ["data", true]);
  }
});

Deno.test("FrameParser finds the same, and fails the same, however the bytes are split", () => {
  const payload = fc.oneof(
    { weight: 8, arbitrary: fc.uint8Array({ maxLength: 20 }) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 120, maxLength: 300 }) },
  );
  const opcode = fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(0x0, 0x1, 0x2, 0x8, 0x9, 0xa) },
    { weight: 1, arbitrary: fc.nat(15) },
  );
  const frames = fc.array(fc.record({ opcode, payload, fin: fc.boolean() }), { maxLength: 8 });
  const damage = fc.option(fc.record({ at: fc.nat(400), byte: fc.nat(255) }), { freq: 2 });
  const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(
      frames,
      damage,
      pieces,
      fc.constantFrom(...DIRECTIONS),
      (frames, damage, pieces, { masked, shape }) => {
        const bytes = frames.flatMap(({ opcode, payload, fin }) => frame(opcode, payload, { ...shape, fin }));
        if (damage !== null && damage.at < bytes.length) bytes[damage.at] = damage.byte;
        const whole = parse(bytes, { masked, maxMessageBytes: 300 });
        assertEquals(parse(bytes, { masked, maxMessageBytes: 300, pieces }), whole);
        assertEquals(parse(bytes, { masked, maxMessageBytes: 300, pieces: [1] }), whole);
      },
    ),
    { seed: 6455, numRuns: 500 },
  );
});
