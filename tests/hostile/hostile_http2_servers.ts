/** What servers of HTTP/2 send that they must not (RFC 9113): what is malformed in HTTP/1.1 too, and what only frames can do. */

import { CODE, FLAG, FRAME, SETTING } from "../../lib/http2/frame_type.ts";
import { frame } from "../support/http2_pair.ts";
import { latin1Bytes } from "../support/raw_connection.ts";
import { uint32 } from "../support/raw_http2.ts";

/** One of them. */
export interface HostileHttp2 {
  readonly name: string;
  /** What is sent on the stream of the request. */
  readonly frames: (id: number) => readonly Uint8Array[];
  /** What is lost: the request alone, or the connection with it, which nobody may use any more. */
  readonly costs: "stream" | "connection";
  /** Content that has to be passed on; without it the request has to fail. */
  readonly content?: string;
  /** Whether the server closes the connection behind it. */
  readonly closes?: boolean;
}

type Fields = readonly (readonly [name: string, value: string])[];

const {
  DATA,
  HEADERS,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  PUSH_PROMISE,
  PING,
  GOAWAY,
  WINDOW_UPDATE,
  CONTINUATION,
} = FRAME;
const { END_HEADERS, END_STREAM, ACK } = FLAG;
const PADDED = 0x08;

/** A length as HPACK has it, behind a prefix of seven bits. */
function sized(text: string): string {
  const { length } = text;
  if (length < 127) return String.fromCharCode(length) + text;
  let rest = length - 127;
  let bytes = "\x7f";
  for (; rest >= 128; rest >>= 7) bytes += String.fromCharCode((rest & 127) | 128);
  return bytes + String.fromCharCode(rest) + text;
}

/** Literals that are not indexed. */
function block(fields: Fields): Uint8Array {
  return latin1Bytes(fields.map(([name, value]) => `\0${sized(name)}${sized(value)}`).join(""));
}

function head(id: number, fields: Fields, flags: number = END_HEADERS): Uint8Array {
  return frame(HEADERS, flags, id, block(fields));
}

function data(id: number, text: string, flags: number = END_STREAM): Uint8Array {
  return frame(DATA, flags, id, latin1Bytes(text));
}

const OK: Fields = [[":status", "200"]];
const shown = (text: string): string => JSON.stringify(text.slice(0, 40));

/** Malformed heads, each before two bytes of content. */
function heads(what: string, cases: readonly Fields[]): HostileHttp2[] {
  return cases.map((fields) => ({
    name: `${what} ${fields.map(([name, value]) => `${shown(name)}: ${shown(value)}`).join(", ")}`,
    frames: (id) => [head(id, fields), data(id, "ok")],
    costs: "stream",
  }));
}

const STATUSES = [
  "",
  "2",
  "20",
  "2000",
  "20x",
  "x",
  " 200",
  "200 ",
  "-20",
  "+20",
  "2.0",
  "0x1",
  "1e2",
  "099",
  "200 OK",
];

const FIELDS: Fields = [
  ["", "x"],
  ["X", "y"],
  ["a b", "x"],
  ["a:b", "x"],
  ["a\0b", "x"],
  ["a\x7f", "x"],
  ['a"b', "x"],
  ["n\xe4me", "x"],
  ["a\r\nb", "x"],
  [":x", "y"],
  [":path", "/"],
  [":method", "GET"],
  ["x", "a\rb"],
  ["x", "a\nb"],
  ["x", "a\r\nset-cookie: a=b"],
  ["x", "a\0b"],
  ["connection", "close"],
  ["connection", "x"],
  ["keep-alive", "timeout=5"],
  ["proxy-connection", "keep-alive"],
  ["transfer-encoding", "chunked"],
  ["transfer-encoding", "identity"],
  ["upgrade", "h2c"],
];

const LENGTHS = [
  "",
  "x",
  "-1",
  "+2",
  "2 2",
  "2, 3",
  "0x2",
  "1e1",
  "2.0",
  "1",
  "3",
  "99999999999999999999",
  "2;",
  "2\t2",
];

/** What is wrong with one request. */
const STREAM: readonly HostileHttp2[] = [
  ...heads("status", STATUSES.map((status) => [[":status", status]])),
  ...heads("field", FIELDS.map((field) => [...OK, field])),
  ...heads("length", LENGTHS.map((length) => [...OK, ["content-length", length]])),
  ...heads("lengths", [[...OK, ["content-length", "2"], ["content-length", "3"]]]),
  ...heads("no status", [[["x", "y"]], []]),
  ...heads("a status twice", [[...OK, ...OK]]),
  ...heads("a status behind a field", [[["x", "y"], ...OK]]),
  ...heads("too many fields", [[...OK, ...new Array(201).fill(["x", "y"])]]),
  ...heads("switching protocols", [[[":status", "101"]], [[":status", "101"], ["upgrade", "websocket"]]]),
  ...([
    ["content before the head", (id) => [data(id, "ok")]],
    ["an interim response at the end", (id) => [head(id, [[":status", "103"]], END_HEADERS | END_STREAM)]],
    ["content behind an interim response", (id) => [head(id, [[":status", "103"]]), data(id, "ok")]],
    ["trailers behind an interim response alone", (id) => [
      head(id, [[":status", "103"]]),
      head(id, [["x", "y"]], END_HEADERS | END_STREAM),
    ]],
    [
      "a malformed interim response",
      (id) => [head(id, [[":status", "103"], ["X", "y"]]), head(id, OK), data(id, "ok")],
    ],
    ["17 interim responses", (id) => [
      ...Array.from({ length: 17 }, () => head(id, [[":status", "103"]])),
      head(id, OK),
      data(id, "ok"),
    ]],
    [
      "a length without content",
      (id) => [head(id, [...OK, ["content-length", "2"]], END_HEADERS | END_STREAM)],
    ],
    ["half of the content", (id) => [head(id, [...OK, ["content-length", "4"]]), data(id, "ok")]],
    ["half of the content, and trailers", (id) => [
      head(id, [...OK, ["content-length", "4"]]),
      data(id, "ok", 0),
      head(id, [["x", "y"]], END_HEADERS | END_STREAM),
    ]],
    ["trailers that are not the end", (id) => [head(id, OK), data(id, "ok", 0), head(id, [["x", "y"]])]],
    [
      "a status in trailers",
      (id) => [head(id, OK), data(id, "ok", 0), head(id, OK, END_HEADERS | END_STREAM)],
    ],
    ["a name in capitals in trailers", (id) => [
      head(id, OK),
      data(id, "ok", 0),
      head(id, [["X", "y"]], END_HEADERS | END_STREAM),
    ]],
    ["a line end in trailers", (id) => [
      head(id, OK),
      data(id, "ok", 0),
      head(id, [["x", "y\r\nz: a"]], END_HEADERS | END_STREAM),
    ]],
    ...(["INTERNAL_ERROR", "CANCEL", "NO_ERROR", "PROTOCOL_ERROR"] as const).flatMap((code): Case[] => [
      [`a reset with ${code}`, (id) => [frame(RST_STREAM, 0, id, uint32(CODE[code]))]],
      [`a reset with ${code} behind half of the content`, (id) => [
        head(id, [...OK, ["content-length", "4"]]),
        data(id, "ok", 0),
        frame(RST_STREAM, 0, id, uint32(CODE[code])),
      ]],
    ]),
    [
      "a window that grows by nothing",
      (id) => [frame(WINDOW_UPDATE, 0, id, uint32(0)), head(id, OK), data(id, "ok")],
    ],
    ["a window that grows too large", (id) => [
      frame(WINDOW_UPDATE, 0, id, uint32(0x7fff_ffff)),
      head(id, OK),
      data(id, "ok"),
    ]],
  ] satisfies Case[] as Case[]).map(([name, frames]): HostileHttp2 => ({ name, frames, costs: "stream" })),
];

type Case = [name: string, frames: HostileHttp2["frames"]];

const SETTING_ID = (id: number, value: number): number[] => [0, id, ...uint32(value)];

/** What is wrong with the connection. */
const CONNECTION: readonly HostileHttp2[] = ([
  ["DATA on no stream", () => [frame(DATA, 0, 0, [1])]],
  ["DATA on a stream that nobody opened", () => [frame(DATA, 0, 99, [1])]],
  ["HEADERS on no stream", () => [head(0, OK)]],
  ["HEADERS on a stream that nobody opened", () => [head(99, OK, END_HEADERS | END_STREAM)]],
  ["a stream of its own", () => [head(2, OK, END_HEADERS | END_STREAM)]],
  ["a push", (id) => [frame(PUSH_PROMISE, END_HEADERS, id, [...uint32(2), 0x82])]],
  ["CONTINUATION without a beginning", (id) => [frame(CONTINUATION, END_HEADERS, id, block(OK))]],
  ["DATA within a field block", (id) => [head(id, OK, 0), data(id, "ok")]],
  ["PING within a field block", (id) => [head(id, OK, 0), frame(PING, 0, 0, new Uint8Array(8))]],
  ["CONTINUATION of another stream", (id) => [head(id, OK, 0), frame(CONTINUATION, END_HEADERS, id + 2, [])]],
  ["DATA with more padding than it is long", (id) => [head(id, OK), frame(DATA, PADDED, id, [9, 1])]],
  [
    "HEADERS with more padding than it is long",
    (id) => [frame(HEADERS, PADDED | END_HEADERS, id, [9, 0x88])],
  ],
  ["DATA that is too large", (id) => [head(id, OK), frame(DATA, 0, id, new Uint8Array(16_385))]],
  ["PING of seven bytes", () => [frame(PING, 0, 0, new Uint8Array(7))]],
  ["PING on a stream", (id) => [frame(PING, 0, id, new Uint8Array(8))]],
  ["SETTINGS of five bytes", () => [frame(SETTINGS, 0, 0, new Uint8Array(5))]],
  ["SETTINGS on a stream", (id) => [frame(SETTINGS, 0, id, [])]],
  ["SETTINGS that agree with content", () => [frame(SETTINGS, ACK, 0, new Uint8Array(6))]],
  ["SETTINGS with a frame size of one", () => [frame(SETTINGS, 0, 0, SETTING_ID(SETTING.MAX_FRAME_SIZE, 1))]],
  ["SETTINGS with a window of 2^31", () => [
    frame(SETTINGS, 0, 0, SETTING_ID(SETTING.INITIAL_WINDOW_SIZE, 0x8000_0000)),
  ]],
  ["RST_STREAM of three bytes", (id) => [frame(RST_STREAM, 0, id, [0, 0, 0])]],
  ["RST_STREAM on no stream", () => [frame(RST_STREAM, 0, 0, uint32(8))]],
  ["RST_STREAM on a stream that nobody opened", () => [frame(RST_STREAM, 0, 99, uint32(8))]],
  ["WINDOW_UPDATE of three bytes", () => [frame(WINDOW_UPDATE, 0, 0, [0, 0, 1])]],
  ["WINDOW_UPDATE by nothing", () => [frame(WINDOW_UPDATE, 0, 0, uint32(0))]],
  ["WINDOW_UPDATE beyond 2^31", () => [frame(WINDOW_UPDATE, 0, 0, uint32(0x7fff_ffff))]],
  ["GOAWAY of four bytes", () => [frame(GOAWAY, 0, 0, uint32(0))]],
  ["GOAWAY on a stream", (id) => [frame(GOAWAY, 0, id, new Uint8Array(8))]],
  ["a field block that is no HPACK", (id) => [frame(HEADERS, END_HEADERS, id, [0xff, 0xff, 0xff, 0xff])]],
  ["an entry that the table does not have", (id) => [frame(HEADERS, END_HEADERS, id, [0x88, 0xfe])]],
  ["a table larger than allowed", (id) => [frame(HEADERS, END_HEADERS, id, [0x3f, 0xe2, 0x1f, 0x88])]],
  ["a change of the table behind a field", (id) => [frame(HEADERS, END_HEADERS, id, [0x88, 0x20])]],
  ["a literal longer than its block", (id) => [frame(HEADERS, END_HEADERS, id, [0x88, 0, 9, 0x78])]],
  ["a Huffman code that is none", (id) => [
    frame(HEADERS, END_HEADERS, id, [0x88, 0, 1, 0x78, 0x84, 0xff, 0xff, 0xff, 0xff]),
  ]],
  ["a response of HTTP/1.1", () => [latin1Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]],
  ["5,000 PING", () => new Array(5000).fill(frame(PING, 0, 0, new Uint8Array(8)))],
  ["5,000 SETTINGS", () => new Array(5000).fill(frame(SETTINGS, 0, 0, []))],
  ["5,000 empty DATA", (id) => [head(id, OK), ...new Array(5000).fill(data(id, "", 0))]],
  [
    "5,000 CONTINUATION",
    (id) => [head(id, OK, 0), ...new Array(5000).fill(frame(CONTINUATION, 0, id, [0x88]))],
  ],
] satisfies Case[] as Case[]).map(([name, frames]): HostileHttp2 => ({ name, frames, costs: "connection" }));

/** Responses that end with the connection before they have. */
const BREAKING_OFF: readonly HostileHttp2[] = ([
  ["nothing at all", () => []],
  ["half a frame", () => [Uint8Array.of(0, 0, 9, HEADERS)]],
  ["half a field block", (id) => [head(id, OK, 0)]],
  ["a head alone", (id) => [head(id, OK)]],
  ["an interim response alone", (id) => [head(id, [[":status", "103"]])]],
  ["half of the content", (id) => [head(id, OK), data(id, "ok", 0)]],
  ["half of the content and GOAWAY", (id) => [
    head(id, OK),
    data(id, "ok", 0),
    frame(GOAWAY, 0, 0, [...uint32(id), ...uint32(CODE.INTERNAL_ERROR)]),
  ]],
] satisfies Case[] as Case[]).map(([name, frames]): HostileHttp2 => ({
  name: `${name}, and the end of the connection`,
  frames,
  costs: "connection",
  closes: true,
}));

/** What looks odd, and is in order. */
const HARMLESS: readonly HostileHttp2[] = ([
  ["an unknown frame", (id) => [frame(77, 0, id, [1]), head(id, OK), data(id, "ok")]],
  ["an unknown setting", (id) => [frame(SETTINGS, 0, 0, SETTING_ID(77, 1)), head(id, OK), data(id, "ok")]],
  ["padding", (id) => [head(id, OK), frame(DATA, PADDED | END_STREAM, id, [2, 0x6f, 0x6b, 0, 0])]],
  ["PRIORITY", (id) => [frame(PRIORITY, 0, id, [0, 0, 0, 0, 1]), head(id, OK), data(id, "ok")]],
  [
    "an interim response",
    (id) => [head(id, [[":status", "103"], ["link", "</a>"]]), head(id, OK), data(id, "ok")],
  ],
  ["trailers", (id) => [head(id, OK), data(id, "ok", 0), head(id, [["x", "y"]], END_HEADERS | END_STREAM)]],
  ["an unknown status", (id) => [head(id, [[":status", "299"]]), data(id, "ok")]],
  ["bytes above ASCII in a value", (id) => [head(id, [...OK, ["x", "\xe4"]]), data(id, "ok")]],
  ["a head in pieces", (id) => [
    frame(HEADERS, 0, id, []),
    ...Array.from(block([...OK, ["x", "y"]]), (byte) => frame(CONTINUATION, 0, id, [byte])),
    frame(CONTINUATION, END_HEADERS, id, []),
    data(id, "ok"),
  ]],
  ["an empty end", (id) => [head(id, OK), data(id, "ok", 0), data(id, "")]],
] satisfies Case[] as Case[]).map(([name, frames]): HostileHttp2 => ({
  name: `harmless: ${name}`,
  frames,
  costs: "stream",
  content: "ok",
}));

/** All of them. */
export const HOSTILE_HTTP2: readonly HostileHttp2[] = [
  ...STREAM,
  ...CONNECTION,
  ...BREAKING_OFF,
  ...HARMLESS,
];
