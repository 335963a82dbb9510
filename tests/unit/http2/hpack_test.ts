/** HPACK: what is read and written, and what reading costs. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { FieldLines } from "../../../lib/http/field_lines.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { CODE, Http2Error } from "../../../lib/http2/frame_type.ts";
import { FrameWriter } from "../../../lib/http2/frame_writer.ts";
import { HpackDecoder } from "../../../lib/http2/hpack_decoder.ts";
import { checkFields, HpackEncoder, UnwritableFieldError } from "../../../lib/http2/hpack_encoder.ts";
import { decodeHuffman, encodeHuffman, huffmanLength, mostDecoded } from "../../../lib/http2/hpack_tables.ts";
import { FRESH_BUFFERS, hex } from "../../support/http2_pair.ts";

type Field = [name: string, value: string];

/** Reads a block; each field as texts of one character a byte. */
function decode(decoder: HpackDecoder, block: Uint8Array): Field[] {
  const fields: Field[] = [];
  decoder.decode(block, 0, block.length, {
    field(bytes, from, nameEnd, end): void {
      const text = (a: number, b: number): string => String.fromCharCode(...bytes.subarray(a, b));
      fields.push([text(from, nameEnd), text(nameEnd, end)]);
    },
  });
  return fields;
}

function assertBroken(block: string, decoder = new HpackDecoder()): void {
  const error = assertThrows(() => decode(decoder, hex(block)), Http2Error);
  assertEquals(error.code, CODE.COMPRESSION_ERROR);
}

const REQUESTS: Field[][] = [
  [[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "www.example.com"]],
  [[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "www.example.com"], [
    "cache-control",
    "no-cache",
  ]],
  [[":method", "GET"], [":scheme", "https"], [":path", "/index.html"], [":authority", "www.example.com"], [
    "custom-key",
    "custom-value",
  ]],
];
const COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const RESPONSES: Field[][] = [
  [[":status", "302"], ["cache-control", "private"], ["date", "Mon, 21 Oct 2013 20:13:21 GMT"], [
    "location",
    "https://www.example.com",
  ]],
  [[":status", "307"], ["cache-control", "private"], ["date", "Mon, 21 Oct 2013 20:13:21 GMT"], [
    "location",
    "https://www.example.com",
  ]],
  [
    [":status", "200"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:22 GMT"],
    ["location", "https://www.example.com"],
    ["content-encoding", "gzip"],
    ["set-cookie", COOKIE],
  ],
];

Deno.test("HPACK: the examples of RFC 7541, appendix C", () => {
  const single: [string, Field][] = [
    ["400a637573746f6d2d6b65790d637573746f6d2d686561646572", ["custom-key", "custom-header"]],
    ["040c2f73616d706c652f70617468", [":path", "/sample/path"]],
    ["100870617373776f726406736563726574", ["password", "secret"]],
    ["82", [":method", "GET"]],
  ];
  for (const [block, field] of single) assertEquals(decode(new HpackDecoder(), hex(block)), [field]);
  const series: [string[], Field[][]][] = [
    [[
      "828684410f7777772e6578616d706c652e636f6d",
      "828684be58086e6f2d6361636865",
      "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ], REQUESTS],
    [[
      "828684418cf1e3c2e5f23a6ba0ab90f4ff",
      "828684be5886a8eb10649cbf",
      "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ], REQUESTS],
    // Those of responses are for a table of 256 bytes, which the first block asks for here.
    [[
      "3fe101 4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54" +
      "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
      "4803333037c1c0bf",
      "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153" +
      "444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ], RESPONSES],
    [[
      "3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9" +
      "ae82ae43d3",
      "4883640effc1c0bf",
      "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b39" +
      "60d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ], RESPONSES],
  ];
  for (const [blocks, fields] of series) {
    const decoder = new HpackDecoder();
    assertEquals(blocks.map((block) => decode(decoder, hex(block))), fields);
  }
});

Deno.test("HPACK: what is no field block ends the connection", () => {
  assertBroken("80"); // the index 0
  assertBroken("be"); // an index beyond the table
  assertBroken("7e016100".slice(0, 6)); // a name beyond the table
  assertBroken("3fe21f"); // a table of 4097 bytes
  assertBroken("8220"); // a change of the size behind a field
  assertBroken("ffffffffffff7f"); // a number that is too large
  assertBroken("ff"); // ends within a number
  assertBroken("4005"); // ends within a name
  assertBroken("40056162636465"); // ends before the value
  assertBroken("0482ffff"); // only ones: no end within less than a byte
  assertBroken("0484ffffffff"); // the end of a string within it
  assertBroken("048100"); // padded with zeros
  assertBroken("0481ff"); // eight ones are too many
  assertEquals(decode(new HpackDecoder(), hex("3fe11f20 3fe11f 82")), [[":method", "GET"]]);
});

Deno.test("HPACK: what is larger than the table empties it, and an entry may be named while it makes room", () => {
  const decoder = new HpackDecoder();
  decode(decoder, hex("3f21 40 01 61 01 62")); // 64 bytes; a: b
  assertEquals(decode(decoder, hex("be")), [["a", "b"]]);
  assertEquals(decode(decoder, hex("7e 01 63 be")), [["a", "c"], ["a", "c"]]);
  const large = `40 7f01 ${"61".repeat(128)} 00`;
  assertEquals(decode(decoder, hex(large)), [["a".repeat(128), ""]]);
  assertBroken("be", decoder);
});

/** Fields of a block until a sink has had so many; the rest is skipped. */
function decodeSome(decoder: HpackDecoder, block: Uint8Array, most: number): number {
  let given = 0;
  decoder.decode(block, 0, block.length, {
    field: () => void given++,
    get excessive() {
      return given >= most;
    },
  });
  return given;
}

Deno.test("HPACK: what is skipped leaves the table as what is read does", () => {
  const name = fc.constantFrom("01 61", "03 612d62", "81 1f"); // a, a-b, a in Huffman's code
  const value = fc.constantFrom("00", "01 63", "7f 81 17" + "64".repeat(3072), "82 497f");
  const part = fc.oneof(
    fc.constantFrom("82", "90", "be", "bf"),
    fc.tuple(fc.constantFrom("40", "00", "10"), name, value).map((all) => all.join("")),
    fc.tuple(fc.constantFrom("44", "7e", "7f00", "04", "0f2f", "1f2f"), value).map((all) => all.join("")),
  );
  // Two entries, so that what refers to the table finds some; a large one may empty it all the same.
  const first = hex("40 01 78 01 79 40 01 7a 01 7a");
  const table = (decoder: HpackDecoder): Field[] => {
    const all: Field[] = [];
    try {
      for (let i = 0xbe; i < 0xff; i++) all.push(...decode(decoder, Uint8Array.of(i)));
    } catch {
      // That was the last one.
    }
    return all;
  };
  const fate = (run: () => unknown): string => {
    try {
      run();
      return "read";
    } catch (error) {
      return (error as Http2Error).message;
    }
  };
  fc.assert(
    fc.property(fc.array(part, { minLength: 2, maxLength: 12 }), fc.nat(3), (parts, given) => {
      const block = hex(parts.join(""));
      const read = new HpackDecoder();
      const skipped = new HpackDecoder();
      for (const each of [read, skipped]) decode(each, first);
      const expected = fate(() => decode(read, block));
      assertEquals(fate(() => decodeSome(skipped, block, given + 1)), expected);
      if (expected === "read") assertEquals(table(skipped), table(read));
    }),
    { seed: 3, numRuns: 1000 },
  );
});

Deno.test("HPACK: skipping ends where nothing more is wanted, and finds what is broken behind it", () => {
  assertEquals(decodeSome(new HpackDecoder(), hex("82 86 84 0001610162 82"), 2), 2);
  for (const rest of ["80", "be", "7e00", "0f2f00", "000161", "00016105", "0004", "ffffffffff7f", "20"]) {
    const error = assertThrows(() => decodeSome(new HpackDecoder(), hex(`82${rest}`), 1), Http2Error);
    assertEquals(error.code, CODE.COMPRESSION_ERROR, rest);
  }
});

Deno.test("HPACK: a large name that a skipped block copies again and again ends the connection", () => {
  const decoder = new HpackDecoder();
  decode(decoder, hex(`40 7fa11e ${"61".repeat(4000)} 00`));
  // 64 copies of 4000 bytes are within 256 KiB.
  assertEquals(decodeSome(decoder, hex("82" + "7e00".repeat(64)), 1), 1);
  const error = assertThrows(() => decodeSome(decoder, hex("82" + "7e00".repeat(8000)), 1), Http2Error);
  assertEquals(error.code, CODE.ENHANCE_YOUR_CALM);
  // Entries that are not kept copy nothing.
  assertEquals(decodeSome(decoder, hex("82" + "0f2f00".repeat(5000)), 1), 1);
});

Deno.test("HPACK: a field of more than 1 MiB ends the connection", () => {
  const literal = (length: number): Uint8Array => {
    // No index, an empty name, and a value of so many bytes (RFC 7541 sections 5.1 and 6.2.2).
    const rest = length - 0x7f;
    const size = [0x7f, rest & 0x7f | 0x80, rest >> 7 & 0x7f | 0x80, rest >> 14 & 0x7f];
    const block = new Uint8Array(2 + size.length + length);
    block.set([0, 0, ...size]);
    return block;
  };
  let bytes = 0;
  const sink = {
    field: (_bytes: Uint8Array, _from: number, nameEnd: number, end: number) => bytes = end - nameEnd,
  };
  const most = literal(2 ** 20);
  new HpackDecoder().decode(most, 0, most.length, sink);
  assertEquals(bytes, 2 ** 20);
  const more = literal(2 ** 20 + 1);
  const error = assertThrows(() => new HpackDecoder().decode(more, 0, more.length, sink), Http2Error);
  assertEquals(error.code, CODE.COMPRESSION_ERROR);
});

Deno.test("Huffman: every text comes back, and no padding is taken for another", () => {
  const identity = Uint8Array.from({ length: 256 }, (_, i) => i);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const coded = new Uint8Array(bytes.length * 4);
      const end = encodeHuffman(bytes, 0, bytes.length, identity, coded, 0);
      assertEquals(end, huffmanLength(bytes, 0, bytes.length, identity));
      const back = new Uint8Array(mostDecoded(end));
      assertEquals(decodeHuffman(coded, 0, end, back, 0), bytes.length);
      assertEquals(back.subarray(0, bytes.length), bytes);
    }),
    { seed: 5, numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (coded) => {
      const text = new Uint8Array(mostDecoded(coded.length));
      const length = decodeHuffman(coded, 0, coded.length, text, 0);
      if (length < 0) return;
      assert(length <= text.length);
      const again = new Uint8Array(coded.length);
      assertEquals(encodeHuffman(text, 0, length, identity, again, 0), coded.length);
      assertEquals(again, coded);
    }),
    { seed: 6, numRuns: 3000 },
  );
});

/** Fields as they come from a server of HTTP/1.1, in bytes. */
function linesOf(fields: readonly Field[]): HeaderFields {
  let text = "";
  const places: number[][] = [];
  for (const [name, value] of fields) {
    const start = text.length;
    places.push([
      start,
      start + name.length,
      start + name.length + 2,
      start + name.length + 2 + value.length,
    ]);
    text += `${name}: ${value}\r\n`;
  }
  const lines = new FieldLines(Uint8Array.from(text, (c) => c.charCodeAt(0)));
  for (const [a, b, c, d] of places) lines.add(a!, b!, c!, d!);
  lines.end = text.length;
  const headers = new HeaderFields();
  headers.begin(lines);
  return headers;
}

const NAMES = ["content-type", "Date", "server", "x-own", "Set-Cookie", "etag", "vary", "location", "accept"];
const field: fc.Arbitrary<Field> = fc.tuple(
  fc.constantFrom(...NAMES),
  fc.oneof(
    fc.constantFrom("text/html", "a", "", "no-cache", "x".repeat(300)),
    fc.stringMatching(/^[!-~\xa0-\xff]{0,40}$/),
  ),
);

Deno.test("HPACK: what one side writes the other reads, whatever the sizes of the table in between", () => {
  const step = fc.record({
    lines: fc.array(field, { maxLength: 12 }),
    list: fc.array(field, { maxLength: 6 }),
    resize: fc.option(fc.constantFrom(0, 64, 300, 4096, 65_536), { nil: null, freq: 4 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const writer = new FrameWriter(FRESH_BUFFERS);
      const encoder = new HpackEncoder(writer);
      const decoder = new HpackDecoder();
      for (const { lines, list, resize } of steps) {
        if (resize !== null) encoder.resize(resize);
        const headers = linesOf(lines);
        headers.list = list.flatMap(([name, value]) => [name.toLowerCase(), value]);
        checkFields(headers.list);
        encoder.begin();
        encoder.status(resize ?? 200);
        encoder.fields(headers);
        encoder.contentLength(7);
        const block = writer.take();
        assertEquals(decode(decoder, block), [
          [":status", String(resize ?? 200)],
          ...[...lines, ...list].map(([name, value]): Field => [name.toLowerCase(), value]),
          ["content-length", "7"],
        ]);
      }
    }),
    { seed: 7, numRuns: 300 },
  );
});

Deno.test("HPACK: what repeats takes a byte, and what is secret stands in no table", () => {
  const writer = new FrameWriter(FRESH_BUFFERS);
  const encoder = new HpackEncoder(writer);
  const headers = linesOf([["Content-Type", "text/html; charset=utf-8"], ["Server", "nginx"]]);
  encoder.begin();
  encoder.fields(headers);
  assert(writer.take().length > 20);
  encoder.begin();
  encoder.fields(headers);
  assertEquals(writer.take(), hex("bfbe"));
  encoder.fields(new HeaderFields({ "set-cookie": "a=b", "authorization": "Basic eA==" }));
  const block = writer.take();
  // 0x1f and the rest of the index: never to be indexed (section 6.2.3).
  assertEquals([block[0], block[1]], [0x1f, 55 - 15]);
  assertEquals(block.filter((byte) => byte === 0x1f).length, 2);
});

Deno.test("HPACK: a field that cannot stand in a block is refused before anything is written", () => {
  for (const list of [["A", "b"], ["a b", "c"], ["a", "b\nc"], ["", "x"], ["x", "\u0100"]]) {
    assertThrows(() => checkFields(list), UnwritableFieldError);
  }
});

Deno.test("HPACK: fields of the connection stay behind, and TE says trailers or nothing", () => {
  const writer = new FrameWriter(FRESH_BUFFERS);
  const encoder = new HpackEncoder(writer);
  const headers = linesOf([
    ["Connection", "close"],
    ["Transfer-Encoding", "chunked"],
    ["TE", "gzip"],
    ["te", "trailers"],
    ["Upgrade", "x"],
    ["Content-Length", "5"],
    ["X-Left", "1"],
  ]);
  headers.list.push("keep-alive", "timeout=5", "te", "gzip", "x-also", "2");
  encoder.fields(headers);
  assertEquals(decode(new HpackDecoder(), writer.take()), [["te", "trailers"], ["x-left", "1"], [
    "x-also",
    "2",
  ]]);
});
