import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { isIP } from "node:net";
import { makeHextets, readIpAddress } from "../../../lib/http/ip_address.ts";

const SEED = { seed: 20261125 };

function read(text: string): [version: number, hextets: string] {
  // Leftovers of the address before must not shine through.
  const into = makeHextets().fill(0xabcd);
  const version = readIpAddress(text, into);
  return [version, version === 0 ? "" : Array.from(into, (one) => one.toString(16)).join(":")];
}

Deno.test("readIpAddress() reads IPv4 as IPv6, whichever way it is written", () => {
  const same = [4, "0:0:0:0:0:ffff:cb00:7109"] as [number, string];
  for (
    const text of ["203.0.113.9", "::ffff:203.0.113.9", "::FFFF:cb00:7109", "0:0:0:0:0:ffff:203.0.113.9"]
  ) {
    assertEquals(read(text), same, text);
  }
  assertEquals(read("255.255.255.255"), [4, "0:0:0:0:0:ffff:ffff:ffff"]);
  assertEquals(read("::203.0.113.9"), [6, "0:0:0:0:0:0:cb00:7109"]);
});

Deno.test("readIpAddress() reads IPv6 and leaves the zone out", () => {
  const table: [string, string][] = [
    ["::", "0:0:0:0:0:0:0:0"],
    ["::1", "0:0:0:0:0:0:0:1"],
    ["1::", "1:0:0:0:0:0:0:0"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["2001:DB8::8:0", "2001:db8:0:0:0:0:8:0"],
    ["fe80::1%eth0", "fe80:0:0:0:0:0:0:1"],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
  ];
  for (const [text, hextets] of table) assertEquals(read(text), [6, hextets], text);
});

Deno.test("readIpAddress() takes nothing that others read as another address", () => {
  const bad = [
    "",
    "localhost",
    "010.0.0.1",
    "1.2.3.04",
    "00.0.0.0",
    "10.1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "1.2.3.1000",
    "0x7f.0.0.1",
    "2130706433",
    "1.2.3.4 ",
    "1..2.3",
    "::ffff:010.0.0.1",
    "1::2::3",
    ":::",
    ":1",
    "1:",
    "12345::",
    "g::1",
    "[::1]",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "1:2:3:4:5:6:7:1.2.3.4",
    "::1.2.3.4:5",
    "fe80::1%",
    "1.2.3.4%eth0",
  ];
  for (const text of bad) assertEquals(read(text), [0, ""], text);
});

Deno.test("readIpAddress() takes for an address what node:net takes for one", () => {
  const part = fc.oneof(
    fc.constantFrom(":", "::", ".", "0", "00", "%", "%z", "ffff", "255", "256", "1.2.3.4", "g", " "),
    fc.integer({ min: 0, max: 0xffff }).map((number) => number.toString(16)),
    fc.integer({ min: 0, max: 300 }).map(String),
  );
  const glued = fc.array(part, { maxLength: 17 }).map((parts) => parts.join(""));
  const shaped = fc.tuple(fc.constantFrom(":", "."), fc.array(part, { maxLength: 9 }))
    .map(([separator, parts]) => parts.join(separator));
  fc.assert(
    fc.property(fc.oneof(glued, shaped, fc.ipV4(), fc.ipV6()), (text) => {
      assertEquals(read(text)[0] !== 0, isIP(text) !== 0, text);
    }),
    { ...SEED, numRuns: 5000 },
  );
});
