import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { connectionNamedFields, isHopByHop, removeHopByHop } from "../../lib/http/hop_by_hop.ts";

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
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), (pairs) => {
      const list = pairs.flat();
      removeHopByHop(list);
      assertEquals(list, withoutHopByHop(pairs).flat());
      const once = [...list];
      removeHopByHop(list);
      assertEquals(list, once);
    }),
    { seed: 20260304, numRuns: 3000 },
  );
});
