import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { connectionNamedFields, isHopByHop, removeHopByHop } from "../../../lib/http/proxy_fields.ts";
import { rawFields } from "../../support/raw_fields.ts";

const HOP_BY_HOP = [
  "connection",
  "keep-alive",
  "http2-settings",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];
const END_TO_END = [
  "",
  "host",
  "via",
  "date",
  "cookie",
  "trailers",
  "content-length",
  "x-te",
  "authorization",
];

Deno.test("isHopByHop() knows the fields of one connection, and no others", () => {
  for (const name of HOP_BY_HOP) assertEquals(isHopByHop(name), true, name);
  for (const name of END_TO_END) assertEquals(isHopByHop(name), false, name);
});

const NAMED: readonly (readonly [value: string | null, names: string[] | null])[] = [
  [null, null],
  ["", null],
  ["close", null],
  ["keep-alive", null],
  ["Keep-Alive, Close", null],
  ["X-One", ["x-one"]],
  [" x-one ,, X-TWO,x-one", ["x-one", "x-two"]],
  ["upgrade, X", ["x"]],
  ["host", null],
  ["Content-Length, HOST, transfer-encoding", null],
  ["cookie, authorization", ["cookie", "authorization"]],
];

for (const [value, names] of NAMED) {
  Deno.test(`connectionNamedFields() finds ${JSON.stringify(names)} in ${JSON.stringify(value)}`, () => {
    const found = connectionNamedFields(value);
    assertEquals(found === null ? null : [...found], names);
  });
}

/** The same said slowly. */
function withoutHopByHop(pairs: readonly [string, string][]): [string, string][] {
  const named = pairs.filter(([name]) => name === "connection")
    .flatMap(([, value]) => value.split(",").map((token) => token.trim().toLowerCase()))
    .filter((name) => name !== "host" && name !== "content-length" && name !== "close");
  return pairs.filter(([name]) => !HOP_BY_HOP.includes(name) && !named.includes(name));
}

Deno.test("removeHopByHop() keeps what is not of one connection, in order, and changes nothing the second time", () => {
  const name = fc.constantFrom(...HOP_BY_HOP, ...END_TO_END.slice(1), "x-one", "x-two");
  const value = fc.constantFrom(
    "close",
    "X-One",
    "x-two, keep-alive",
    "host, Content-Length",
    "",
    "via,cookie",
    "a",
  );
  const pairs = fc.array(fc.tuple(name, value), { maxLength: 8 });
  fc.assert(
    // Lines that came as bytes stand before those that were added.
    fc.property(pairs, pairs, (came, added) => {
      const fields = rawFields(...came.map(([name, value]) => `${name.toUpperCase()}: ${value}`));
      for (const [name, value] of added) fields.append(name, value);
      const own = new HeaderFields([...came, ...added]);
      const expected = withoutHopByHop([...came, ...added]);
      for (const headers of [fields, own]) {
        removeHopByHop(headers);
        assertEquals([...headers], expected);
        removeHopByHop(headers);
        assertEquals([...headers], expected);
      }
    }),
    { seed: 20260304, numRuns: 3000 },
  );
});

Deno.test("removeHopByHop() takes the options of all Connection lines, but not of one that is removed", () => {
  const lines = ["Connection: X-One", "X-One: 1", "X-Two: 2", "x-three: 3", "CONNECTION: close,x-THREE"];
  const fields = rawFields(...lines);
  removeHopByHop(fields);
  assertEquals([...fields], [["x-two", "2"]]);
  const edited = rawFields(...lines);
  edited.delete("connection");
  edited.append("connection", "x-two");
  removeHopByHop(edited);
  assertEquals([...edited], [["x-one", "1"], ["x-three", "3"]]);
});

Deno.test("removeHopByHop() looks at each line once, however many fields Connection names", () => {
  const options = Array.from({ length: 8000 }, (_, index) => index.toString(36)).join();
  const fields = rawFields(`Connection: ${options}`, ...Array.from({ length: 199 }, () => "Y-: 1"), "a1: 2");
  let reads = 0;
  const { lines } = fields;
  const isNamed = lines!.isNamed.bind(lines);
  lines!.isNamed = (...given) => {
    reads++;
    return isNamed(...given);
  };
  removeHopByHop(fields);
  assertEquals([[...fields].length, fields.has("a1")], [199, false]);
  if (reads > 1000) throw new Error(`${reads} names were compared`);
});
