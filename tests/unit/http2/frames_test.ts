/** Frames that break the protocol (RFC 9113), and floods of frames that are allowed one by one. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { CODE, codeName, FLAG, FRAME, SETTING } from "../../../lib/http2/frame_type.ts";
import {
  exchange,
  frame,
  framesIn,
  makeSide,
  outputOf,
  receive,
  type Side,
} from "../../support/http2_pair.ts";

const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const SETTINGS = frame(FRAME.SETTINGS, 0, 0);
const END = FLAG.END_HEADERS | FLAG.END_STREAM;
/** GET https://a/ as a field block that stands in no table. */
const GET = [0x82, 0x87, 0x84, 0x01, 0x01, 0x61];
/** POST, of which content is to follow. */
const POST = [0x83, 0x87, 0x84, 0x01, 0x01, 0x61];

function bytesOf(...parts: Iterable<number>[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function started(): Side {
  const server = makeSide("server");
  receive(server, bytesOf(PREFACE, SETTINGS, frame(FRAME.SETTINGS, FLAG.ACK, 0)));
  outputOf(server);
  return server;
}

function headers(id: number, block = GET, flags: number = END): Uint8Array {
  return frame(FRAME.HEADERS, flags, id, block);
}

/** What the server makes of frames: the code of the connection's end, or that of a stream's. */
function fate(server: Side, bytes: Uint8Array, piece?: number): string {
  receive(server, bytes, piece);
  const sent = framesIn(outputOf(server));
  const end = sent.find(({ type }) => type === FRAME.GOAWAY);
  if (end !== undefined) return `connection ${codeName(end.payload[7]!)}`;
  const reset = sent.find(({ type }) => type === FRAME.RST_STREAM);
  return reset === undefined ? "goes on" : `stream ${codeName(reset.payload[3]!)}`;
}

const OPEN = headers(1, POST, FLAG.END_HEADERS);
const SETTING_FRAME = (id: number, value: number): Uint8Array =>
  frame(FRAME.SETTINGS, 0, 0, [id >> 8, id, value >>> 24, value >> 16, value >> 8, value]);
const WINDOW = (id: number, value: number): Uint8Array =>
  frame(FRAME.WINDOW_UPDATE, 0, id, [value >>> 24, value >> 16, value >> 8, value]);
const RST = (id: number): Uint8Array => frame(FRAME.RST_STREAM, 0, id, [0, 0, 0, CODE.CANCEL]);

const CASES: readonly (readonly [what: string, bytes: Uint8Array, fate: string])[] = [
  [
    "a frame that is too large",
    frame(FRAME.DATA, 0, 1, new Uint8Array(16_385)),
    "connection FRAME_SIZE_ERROR",
  ],
  ["HEADERS on stream 0", headers(0), "connection PROTOCOL_ERROR"],
  ["HEADERS with an even number", headers(2), "connection PROTOCOL_ERROR"],
  ["a lower number", bytesOf(headers(5), headers(3)), "connection PROTOCOL_ERROR"],
  ["HEADERS again behind the end", bytesOf(headers(1), headers(1)), "stream STREAM_CLOSED"],
  ["DATA on stream 0", frame(FRAME.DATA, 0, 0, [1]), "connection PROTOCOL_ERROR"],
  ["DATA on an idle stream", frame(FRAME.DATA, 0, 1, [1]), "connection PROTOCOL_ERROR"],
  ["DATA behind the end", bytesOf(headers(1), frame(FRAME.DATA, 0, 1, [1])), "stream STREAM_CLOSED"],
  ["DATA behind RST_STREAM", bytesOf(OPEN, RST(1), frame(FRAME.DATA, 0, 1, [1])), "connection STREAM_CLOSED"],
  ["HEADERS behind RST_STREAM", bytesOf(OPEN, RST(1), headers(1)), "connection STREAM_CLOSED"],
  ["CONTINUATION alone", frame(FRAME.CONTINUATION, END, 1, GET), "connection PROTOCOL_ERROR"],
  [
    "CONTINUATION behind a whole block",
    bytesOf(OPEN, frame(FRAME.CONTINUATION, 4, 1)),
    "connection PROTOCOL_ERROR",
  ],
  [
    "CONTINUATION of another stream",
    bytesOf(headers(1, GET, 1), frame(FRAME.CONTINUATION, 4, 3)),
    "connection PROTOCOL_ERROR",
  ],
  [
    "a frame within a block",
    bytesOf(headers(1, GET, 1), frame(FRAME.PING, 0, 0, new Uint8Array(8))),
    "connection PROTOCOL_ERROR",
  ],
  [
    "an unknown frame within a block",
    bytesOf(headers(1, GET, 1), frame(0x20, 0, 1)),
    "connection PROTOCOL_ERROR",
  ],
  ["an unknown frame", frame(0x20, 0xff, 7, [1, 2, 3]), "goes on"],
  ["unknown flags", frame(FRAME.PING, 0xfe, 0, new Uint8Array(8)), "goes on"],
  ["PUSH_PROMISE", frame(FRAME.PUSH_PROMISE, 4, 1, [0, 0, 0, 2]), "connection PROTOCOL_ERROR"],
  ["PING of seven bytes", frame(FRAME.PING, 0, 0, new Uint8Array(7)), "connection FRAME_SIZE_ERROR"],
  ["PING on a stream", frame(FRAME.PING, 0, 1, new Uint8Array(8)), "connection PROTOCOL_ERROR"],
  ["SETTINGS on a stream", frame(FRAME.SETTINGS, 0, 1), "connection PROTOCOL_ERROR"],
  ["SETTINGS of five bytes", frame(FRAME.SETTINGS, 0, 0, new Uint8Array(5)), "connection FRAME_SIZE_ERROR"],
  [
    "an acknowledgement that says something",
    frame(FRAME.SETTINGS, 1, 0, new Uint8Array(6)),
    "connection FRAME_SIZE_ERROR",
  ],
  ["ENABLE_PUSH 2", SETTING_FRAME(SETTING.ENABLE_PUSH, 2), "connection PROTOCOL_ERROR"],
  [
    "INITIAL_WINDOW_SIZE 2^31",
    SETTING_FRAME(SETTING.INITIAL_WINDOW_SIZE, 2 ** 31),
    "connection FLOW_CONTROL_ERROR",
  ],
  ["MAX_FRAME_SIZE 16383", SETTING_FRAME(SETTING.MAX_FRAME_SIZE, 16_383), "connection PROTOCOL_ERROR"],
  ["MAX_FRAME_SIZE 2^24", SETTING_FRAME(SETTING.MAX_FRAME_SIZE, 2 ** 24), "connection PROTOCOL_ERROR"],
  [
    "ENABLE_CONNECT_PROTOCOL 2",
    SETTING_FRAME(SETTING.ENABLE_CONNECT_PROTOCOL, 2),
    "connection PROTOCOL_ERROR",
  ],
  ["an unknown setting", SETTING_FRAME(0x7777, 5), "goes on"],
  ["64 settings in a frame", frame(FRAME.SETTINGS, 0, 0, new Uint8Array(64 * 6)), "goes on"],
  [
    "65 settings in a frame",
    frame(FRAME.SETTINGS, 0, 0, new Uint8Array(65 * 6)),
    "connection ENHANCE_YOUR_CALM",
  ],
  ["WINDOW_UPDATE by 0", WINDOW(0, 0), "connection PROTOCOL_ERROR"],
  ["WINDOW_UPDATE by 0 on a stream", bytesOf(OPEN, WINDOW(1, 0)), "stream PROTOCOL_ERROR"],
  ["WINDOW_UPDATE on an idle stream", WINDOW(1, 1), "connection PROTOCOL_ERROR"],
  [
    "WINDOW_UPDATE of three bytes",
    frame(FRAME.WINDOW_UPDATE, 0, 0, [0, 0, 1]),
    "connection FRAME_SIZE_ERROR",
  ],
  ["a window above 2^31-1", WINDOW(0, 0x7fffffff), "connection FLOW_CONTROL_ERROR"],
  ["a window of a stream above 2^31-1", bytesOf(OPEN, WINDOW(1, 0x7fffffff)), "stream FLOW_CONTROL_ERROR"],
  [
    "settings that make a window too large",
    bytesOf(OPEN, WINDOW(1, 0x7fffffff - 65_535), SETTING_FRAME(SETTING.INITIAL_WINDOW_SIZE, 65_536)),
    "connection FLOW_CONTROL_ERROR",
  ],
  ["WINDOW_UPDATE on a stream that is over", bytesOf(OPEN, RST(1), WINDOW(1, 9)), "goes on"],
  ["RST_STREAM on stream 0", RST(0), "connection PROTOCOL_ERROR"],
  ["RST_STREAM on an idle stream", RST(1), "connection PROTOCOL_ERROR"],
  [
    "RST_STREAM of three bytes",
    bytesOf(OPEN, frame(FRAME.RST_STREAM, 0, 1, [0, 0, 8])),
    "connection FRAME_SIZE_ERROR",
  ],
  ["GOAWAY on a stream", frame(FRAME.GOAWAY, 0, 1, new Uint8Array(8)), "connection PROTOCOL_ERROR"],
  ["GOAWAY of seven bytes", frame(FRAME.GOAWAY, 0, 0, new Uint8Array(7)), "connection FRAME_SIZE_ERROR"],
  ["GOAWAY", frame(FRAME.GOAWAY, 0, 0, new Uint8Array(12)), "goes on"],
  ["PRIORITY on stream 0", frame(FRAME.PRIORITY, 0, 0, new Uint8Array(5)), "connection PROTOCOL_ERROR"],
  ["PRIORITY of four bytes", frame(FRAME.PRIORITY, 0, 1, new Uint8Array(4)), "connection FRAME_SIZE_ERROR"],
  ["PRIORITY on itself", frame(FRAME.PRIORITY, 0, 1, [0, 0, 0, 1, 0]), "connection PROTOCOL_ERROR"],
  ["PRIORITY", frame(FRAME.PRIORITY, 0, 9, [0, 0, 0, 1, 0]), "goes on"],
  [
    "padding as long as the frame",
    bytesOf(OPEN, frame(FRAME.DATA, FLAG.PADDED, 1, [3, 0, 0])),
    "connection PROTOCOL_ERROR",
  ],
  [
    "padding of HEADERS as long as the frame",
    frame(FRAME.HEADERS, END | FLAG.PADDED, 1, [7, ...GET]),
    "connection PROTOCOL_ERROR",
  ],
  [
    "padding without its length",
    bytesOf(OPEN, frame(FRAME.DATA, FLAG.PADDED, 1)),
    "connection FRAME_SIZE_ERROR",
  ],
  [
    "HEADERS with padding and priority",
    frame(FRAME.HEADERS, END | FLAG.PADDED | FLAG.PRIORITY, 1, [2, 0, 0, 0, 0, 9, ...GET, 0, 0]),
    "goes on",
  ],
  ["a broken field block", headers(1, [0x80]), "connection COMPRESSION_ERROR"],
  ["trailers without the end", bytesOf(OPEN, headers(1, [], FLAG.END_HEADERS)), "stream PROTOCOL_ERROR"],
  ["a pseudo field in trailers", bytesOf(OPEN, headers(1, [0x84])), "stream PROTOCOL_ERROR"],
  ["trailers", bytesOf(OPEN, headers(1, [0, 1, 0x78, 1, 0x79])), "goes on"],
  [
    "less content than its head says",
    bytesOf(headers(1, [...POST, 0x0f, 0x0d, 1, 0x35], FLAG.END_HEADERS), frame(FRAME.DATA, 1, 1, [1, 2])),
    "stream PROTOCOL_ERROR",
  ],
  [
    "more content than its head says",
    bytesOf(headers(1, [...POST, 0x0f, 0x0d, 1, 0x31], FLAG.END_HEADERS), frame(FRAME.DATA, 0, 1, [1, 2])),
    "stream PROTOCOL_ERROR",
  ],
  [
    "as much as the window allows",
    bytesOf(OPEN, ...Array(3).fill(frame(FRAME.DATA, 0, 1, new Uint8Array(16_384)))),
    "goes on",
  ],
  [
    "more than the window of the stream allows",
    bytesOf(OPEN, ...Array(5).fill(frame(FRAME.DATA, 0, 1, new Uint8Array(16_384)))),
    "stream FLOW_CONTROL_ERROR",
  ],
];

for (const [what, bytes, expected] of CASES) {
  Deno.test(`frames: ${what}: ${expected}`, () => {
    assertEquals(fate(started(), bytes), expected);
    assertEquals(fate(started(), bytes, 1), expected, "cut everywhere");
  });
}

Deno.test("frames: whoever begins with something else is told that it is no HTTP/2", () => {
  for (const begin of ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSN"]) {
    const server = makeSide("server");
    outputOf(server);
    assertEquals(fate(server, new TextEncoder().encode(begin)), "connection PROTOCOL_ERROR");
  }
  const server = makeSide("server");
  outputOf(server);
  assertEquals(
    fate(server, bytesOf(PREFACE, frame(FRAME.PING, 0, 0, new Uint8Array(8)))),
    "connection PROTOCOL_ERROR",
  );
});

Deno.test("frames: a client is held to the same by its server, and to what only servers must not do", () => {
  const bad: [Uint8Array, number][] = [
    [SETTING_FRAME(SETTING.ENABLE_PUSH, 1), CODE.PROTOCOL_ERROR],
    [frame(FRAME.PUSH_PROMISE, 4, 1, [0, 0, 0, 2]), CODE.PROTOCOL_ERROR],
    [headers(2), CODE.PROTOCOL_ERROR],
    [headers(1), CODE.PROTOCOL_ERROR],
  ];
  for (const [bytes, code] of bad) {
    const client = makeSide("client");
    receive(client, bytesOf(SETTINGS, bytes));
    assertEquals(client.owner.failure?.code, code);
  }
});

Deno.test("frames: where reads cut makes no difference, whatever the bytes are", () => {
  const part = fc.oneof(
    fc.constantFrom(...CASES.map(([, bytes]) => bytes)),
    fc.uint8Array({ maxLength: 30 }),
    fc.tuple(fc.nat(12), fc.nat(0x3f), fc.nat(9), fc.uint8Array({ maxLength: 20 })).map((
      [type, flags, id, payload],
    ) => frame(type, flags, id, payload)),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), fc.integer({ min: 1, max: 40 }), (parts, piece) => {
      const bytes = bytesOf(...parts);
      const whole = started();
      const cut = started();
      receive(whole, bytes);
      receive(cut, bytes, piece);
      assertEquals(cut.owner.failure?.message, whole.owner.failure?.message);
      // What is called off by the same read is not handed on.
      assert(cut.owner.streams.length >= whole.owner.streams.length);
    }),
    { seed: 12, numRuns: 600 },
  );
});

/** How many of a frame a server takes until it ends the connection, and with which code. */
function floodOf(
  server: Side,
  most: number,
  make: (i: number) => Uint8Array,
  drain = true,
): [number, string] {
  for (let i = 0; i < most; i++) {
    receive(server, make(i));
    if (server.owner.failure !== null) return [i, codeName(server.owner.failure.code)];
    if (drain) outputOf(server);
  }
  return [most, "goes on"];
}

Deno.test("floods: frames that serve nobody end the connection (CVE-2019-9512, 9515, 9518)", () => {
  const ping = frame(FRAME.PING, 0, 0, new Uint8Array(8));
  const kinds: [Uint8Array, Uint8Array][] = [
    [bytesOf(), ping],
    [bytesOf(), SETTINGS],
    [bytesOf(), WINDOW(0, 1)],
    [bytesOf(), frame(FRAME.PRIORITY, 0, 9, [0, 0, 0, 1, 0])],
    [bytesOf(), frame(0x20, 0, 0)],
    [bytesOf(), frame(FRAME.SETTINGS, FLAG.ACK, 0)],
    [OPEN, frame(FRAME.DATA, 0, 1)],
    [OPEN, frame(FRAME.DATA, FLAG.PADDED, 1, [0])],
    [bytesOf(OPEN, RST(1)), RST(1)],
  ];
  for (const [before, each] of kinds) {
    const server = started();
    receive(server, before);
    const [count, code] = floodOf(server, 5000, () => each);
    assertEquals(code, "ENHANCE_YOUR_CALM");
    assert(count <= 1001, String(count));
  }
});

Deno.test("floods: what a client makes a server write and does not read is bounded", () => {
  const server = started();
  // Useful frames in between, so that the count alone does not end it.
  const [, code] = floodOf(server, 100_000, (i) => {
    server.connection.wrote(0);
    return i % 2 === 0 ? frame(FRAME.PING, 0, 0, new Uint8Array(8)) : SETTINGS;
  }, false);
  assertEquals(code, "ENHANCE_YOUR_CALM");
  assert(server.connection.output.length < 600_000);
});

Deno.test("floods: rapid reset (CVE-2023-44487), and what makes a server reset (CVE-2025-8671)", () => {
  const ways: ((id: number) => Uint8Array)[] = [
    (id) => bytesOf(headers(id), RST(id)),
    (id) => bytesOf(headers(id, POST, FLAG.END_HEADERS), WINDOW(id, 0)),
    (id) => bytesOf(headers(id, POST, FLAG.END_HEADERS), WINDOW(id, 0x7fffffff)),
    (id) => bytesOf(headers(id), frame(FRAME.DATA, 0, id, [1])),
    (id) => bytesOf(headers(id), headers(id)),
    (id) => bytesOf(headers(id, [...POST, 0x0f, 0x0d, 1, 0x31], FLAG.END_HEADERS), frame(FRAME.DATA, 1, id)),
  ];
  for (const way of ways) {
    const server = started();
    const [count, code] = floodOf(server, 2000, (i) => way(2 * i + 1));
    assertEquals(code, "ENHANCE_YOUR_CALM");
    assert(count <= 201, String(count));
  }
});

Deno.test("floods: more streams than allowed, again and again", () => {
  const server = started();
  const [count, code] = floodOf(server, 2000, (i) => headers(2 * i + 1, POST, FLAG.END_HEADERS));
  assertEquals(code, "ENHANCE_YOUR_CALM");
  assert(count <= 128 + 201, String(count));
  assertEquals(server.owner.streams.length, 128);
});

Deno.test("floods: CONTINUATION without end, large or empty (CVE-2024-27316)", () => {
  for (
    const payload of [new Uint8Array(0), new Uint8Array(1).fill(0x82), new Uint8Array(16_384).fill(0x82)]
  ) {
    const server = started();
    receive(server, headers(1, GET, 0));
    const [count, code] = floodOf(server, 2000, () => frame(FRAME.CONTINUATION, 0, 1, payload));
    assertEquals(code, "ENHANCE_YOUR_CALM");
    assert(count <= 90, String(count));
  }
});

/** A value of 4000 bytes into the table (`name` as its bytes), and then 16,000 references to it. */
const ENTRY = (name: readonly number[]): number[] => [
  ...[0x40, name.length, ...name, 0x7f, 0xa1, 0x1e],
  ...new Uint8Array(4000).fill(0x61),
];
const BOMB = [...GET, ...Array(16_000).fill(0xbe)];

Deno.test("floods: one large entry that a block refers to again and again is kept no more often than its bounds allow", () => {
  // An HPACK bomb; the same of crumbs of a cookie.
  for (const name of [[0x78], [...new TextEncoder().encode("cookie")]]) {
    const servers = Array.from({ length: 13 }, started);
    for (const server of servers) receive(server, headers(1, [...GET, ...ENTRY(name)]));
    const before = Deno.memoryUsage().heapUsed + Deno.memoryUsage().external;
    for (const server of servers) for (let id = 3; id < 19; id += 2) receive(server, headers(id, BOMB));
    assert(Deno.memoryUsage().heapUsed + Deno.memoryUsage().external - before < 64e6);
    for (const { owner: { streams: [, ...bombs] } } of servers) {
      assertEquals(bombs.length, 8);
      for (const { head } of bombs) {
        assertEquals(head!.excess, "bytes");
        assert(head!.lines.bytes.length < 70_000);
      }
    }
  }
});

/** So many references to the entry of 4000 bytes: with 32 more each, nine are too large, and seventeen far too large. */
function references(id: number, count: number): Uint8Array {
  return headers(id, [...GET, ...Array(count).fill(0xbe)]);
}

/** Responds 200 to the request that came last, which is something of use. */
function respond({ owner, connection }: Side): void {
  const stream = owner.streams.at(-1)!;
  stream.respond(200, new HeaderFields(), 0, true);
  stream.release();
  connection.takeOutput();
}

Deno.test("floods: heads that are far too large end the connection at the ninth, and those a little too large never do", () => {
  const ways: [count: number, taken: number, code: string][] = [
    [9, 100, "goes on"],
    [16, 100, "goes on"],
    [17, 8, "ENHANCE_YOUR_CALM"],
    [16_000, 8, "ENHANCE_YOUR_CALM"],
  ];
  for (const [count, taken, code] of ways) {
    const server = started();
    receive(server, headers(1, [...GET, ...ENTRY([0x78])]));
    const found = floodOf(server, 100, (i) => references(2 * i + 3, count));
    assertEquals(found, [taken, code], String(count));
    for (const { head } of server.owner.streams.slice(1)) assertEquals(head!.excess, "bytes");
  }
});

Deno.test("floods: a head that is far too large now and then is forgiven by the requests between", () => {
  const server = started();
  receive(server, headers(1, [...GET, ...ENTRY([0x78])]));
  respond(server);
  const found = floodOf(server, 2600, (i) => {
    if (i > 0) respond(server);
    return i % 26 === 0 ? references(2 * i + 3, 100) : headers(2 * i + 3);
  });
  assertEquals(found, [2600, "goes on"]);
});

Deno.test("floods: trailers that are far too large count as heads do", () => {
  const server = started();
  receive(server, headers(1, [...GET, ...ENTRY([0x78])]));
  const [count, code] = floodOf(
    server,
    100,
    (i) =>
      bytesOf(
        headers(2 * i + 3, POST, FLAG.END_HEADERS),
        headers(2 * i + 3, Array(100).fill(0xbe)),
      ),
  );
  assertEquals([count, code], [7, "ENHANCE_YOUR_CALM"]);
});

Deno.test("frames: a client that knows no bounds of its own still gets its responses", () => {
  const client = makeSide("client");
  const server = makeSide("server");
  exchange(client, server);
  assertEquals(client.connection.settled, true);
  assertEquals(server.connection.settled, true);
});
