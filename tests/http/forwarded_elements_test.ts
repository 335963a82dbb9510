import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { readForwarded, writeForwarded } from "../../lib/http/forwarded_elements.ts";

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
  for (const [field, elements] of table) assertEquals(readForwarded(field), elements as never, field);
});

Deno.test("readForwarded() is not led astray by quotes, and drops what it cannot read", () => {
  assertEquals(readForwarded('for="a,b;for=c";host=h, for=d'), [
    { for: "a,b;for=c", host: "h", proto: null },
    { for: "d", host: null, proto: null },
  ]);
  assertEquals(readForwarded('for="a\\"b"'), [{ for: 'a"b', host: null, proto: null }]);
  assertEquals(readForwarded("nonsense, =, for=, for"), [
    { for: null, host: null, proto: null },
    { for: null, host: null, proto: null },
    { for: null, host: null, proto: null },
    { for: null, host: null, proto: null },
  ]);
  assertEquals(readForwarded('for="open'), [{ for: null, host: null, proto: null }]);
  assertEquals(readForwarded(" , ,"), []);
});

Deno.test("readForwarded() reads what writeForwarded() writes (property)", () => {
  const host = fc.string({
    unit: fc.constantFrom("a", ".", ":", '"', "\\", ",", ";", "[", "]"),
    minLength: 1,
  });
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), host, (ip, name) => {
      const [element, ...more] = readForwarded(writeForwarded(ip, name, "https"));
      assertEquals(more, []);
      assertEquals(element, { for: ip.includes(":") ? `[${ip}]` : ip, host: name, proto: "https" });
    }),
    { seed: 11, numRuns: 300 },
  );
});
