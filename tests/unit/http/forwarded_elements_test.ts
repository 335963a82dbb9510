import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { readForwarded, writeForwarded } from "../../../lib/http/proxy_fields.ts";

Deno.test("readForwarded() reads the examples of RFC 7239", () => {
  const table: [string, unknown[]][] = [
    ['for="_gazonk"', [{ for: "_gazonk", host: null, proto: null }]],
    ['For="[2001:db8:cafe::17]:4711"', [{ for: "[2001:db8:cafe::17]:4711", host: null, proto: null }]],
    ["for=192.0.2.60;proto=http;by=203.0.113.43", [{ for: "192.0.2.60", host: null, proto: "http" }]],
    ["for=192.0.2.43, for=198.51.100.17", [
      { for: "192.0.2.43", host: null, proto: null },
      { for: "198.51.100.17", host: null, proto: null },
    ]],
  ];
  for (const [field, elements] of table) {
    const read = readForwarded(field);
    assertEquals([read.elements, read.text], [elements as never, field]);
  }
});

const element = (node: string) => ({ for: node, host: null, proto: null });

Deno.test("readForwarded() is not led astray by quotes", () => {
  assertEquals(readForwarded('for="a,b;for=c";host=h, for=d').elements, [
    { for: "a,b;for=c", host: "h", proto: null },
    element("d"),
  ]);
  assertEquals(readForwarded('for="a\\"b"').elements, [element('a"b')]);
  assertEquals(readForwarded('for="a\\\\"').elements, [element("a\\")]);
  assertEquals(readForwarded("for=a ; ;proto=http;\t,\tfor=b").elements, [
    { for: "a", host: null, proto: "http" },
    element("b"),
  ]);
});

Deno.test("readForwarded() reads from the end on, as far as there are elements", () => {
  const table: [string, string][] = [
    ['for="evil, for=d', "for=d"],
    ['for="evil\\", for=d', "for=d"],
    ['for="evil\\, for="d"', 'for="d"'],
    ['", for="d";host="h"', 'for="d";host="h"'],
    ['for=a;host="x, for=d', "for=d"],
    ['for=a, for="b" c, for=d', "for=d"],
    ["for=a;for=b, for=d", "for=d"],
    ["for=a, nonsense, for=d", "for=d"],
    ["for=a, , for=d", "for=d"],
    ["for=a, for=, for=d", "for=d"],
    ["for=a, ;, for=d", "for=d"],
  ];
  for (const [field, text] of table) {
    assertEquals(readForwarded(field), {
      elements: [{ ...element("d"), host: text.includes("host") ? "h" : null }],
      text,
    }, field);
  }
  for (
    const field of ["", ",", "for", "for=d,", 'for=d, "', 'for="open', "for=d for=e", "for=a=b", 'for="a"b']
  ) {
    assertEquals(readForwarded(field), { elements: [], text: "" }, field);
  }
});

Deno.test("readForwarded() keeps what a proxy adds, whatever a client has sent (property)", () => {
  const sent = fc.string({
    unit: fc.constantFrom("a", "for=", '"', "\\", ",", ";", " ", "="),
    maxLength: 12,
  });
  fc.assert(
    fc.property(sent, fc.ipV6(), (client, ip) => {
      const { elements } = readForwarded(`${client}, ${writeForwarded(ip, 'h"\\,', "https")}`);
      assertEquals(elements.at(-1), { for: `[${ip}]`, host: 'h"\\,', proto: "https" });
    }),
    { seed: 12, numRuns: 1000 },
  );
});

Deno.test("readForwarded() is quick with long fields", () => {
  for (const unit of ["for=a,", '"', '\\"', "a", " ", ";", 'for="']) {
    const [last] = readForwarded(`${unit.repeat(100_000)}, for=d`).elements.slice(-1);
    assertEquals(last, element("d"), unit);
  }
});

Deno.test("readForwarded() reads what writeForwarded() writes (property)", () => {
  const host = fc.string({
    unit: fc.constantFrom("a", ".", ":", '"', "\\", ",", ";", "[", "]"),
    minLength: 1,
  });
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), host, (ip, name) => {
      const { elements: [element, ...more] } = readForwarded(writeForwarded(ip, name, "https"));
      assertEquals(more, []);
      assertEquals(element, { for: ip.includes(":") ? `[${ip}]` : ip, host: name, proto: "https" });
    }),
    { seed: 11, numRuns: 300 },
  );
});
