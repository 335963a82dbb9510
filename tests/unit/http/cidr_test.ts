import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BlockList } from "node:net";
import { CidrList, expectedCidr } from "../../../lib/http/ip_address.ts";

const EXPECTED = 'an address or a network such as "192.0.2.1", "10.0.0.0/8", "2001:db8::/32"';
const SEED = { seed: 20261125 };

Deno.test("CidrList.has() finds the addresses of its networks and no others", () => {
  const list = new CidrList([
    "10.0.0.0/8",
    "192.0.2.1",
    "198.51.100.0/31",
    "2001:db8::/33",
    "::1",
    "fe80::/10",
  ]);
  const inside = [
    "10.0.0.0",
    "10.255.255.255",
    "192.0.2.1",
    "198.51.100.1",
    "::ffff:10.1.2.3",
    "::FFFF:c000:0201",
    "2001:db8::",
    "2001:DB8:7fff:ffff:ffff:ffff:ffff:ffff",
    "0:0:0:0:0:0:0:1",
    "fe80::1%eth0",
    "febf::",
  ];
  const outside = [
    "9.255.255.255",
    "11.0.0.0",
    "192.0.2.0",
    "198.51.100.2",
    "::ffff:11.0.0.0",
    "2001:db8:8000::",
    "::2",
    "fec0::",
    "::10.0.0.1",
    "010.0.0.1",
    "10.1",
    "",
    "localhost",
  ];
  assertEquals(inside.filter((address) => !list.has(address)), []);
  assertEquals(outside.filter((address) => list.has(address)), []);
  assertEquals(list.entries.length, 6);
});

Deno.test("CidrList.has() keeps the two versions apart", () => {
  const all6 = new CidrList(["::/0"]);
  assertEquals(["::", "ffff::1", "1.2.3.4", "::ffff:1.2.3.4"].map((ip) => all6.has(ip)), [
    true,
    true,
    false,
    false,
  ]);
  const all4 = new CidrList(["0.0.0.0/0"]);
  assertEquals(["::", "ffff::1", "1.2.3.4", "::ffff:1.2.3.4"].map((ip) => all4.has(ip)), [
    false,
    false,
    true,
    true,
  ]);
  const mapped = new CidrList(["::ffff:10.0.0.0/104"]);
  assertEquals(["10.1.2.3", "11.0.0.0", "::10.0.0.1"].map((ip) => mapped.has(ip)), [true, false, false]);
  assert(!new CidrList([]).has("10.0.0.1"));
});

Deno.test("expectedCidr() takes nothing that may have been meant otherwise", () => {
  const bad = [
    "",
    "localhost",
    "10/8",
    "10.0.0/24",
    "010.0.0.1",
    "10.0.0.0/08",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/255.0.0.0",
    "10.0.0.0 /8",
    "::/129",
    "fe80::1%eth0",
    "fe80::%eth0/10",
    "[::1]",
  ];
  for (const text of bad) {
    assertThrows(() => new CidrList([text]), TypeError, text);
    assertEquals(expectedCidr(text), EXPECTED, text);
  }
  assertEquals(expectedCidr(10), EXPECTED);
});

Deno.test("expectedCidr() says which network was probably meant", () => {
  const table = [
    ["10.0.0.1/8", "10.0.0.0/8"],
    ["192.0.2.129/25", "192.0.2.128/25"],
    ["1.2.3.4/0", "0.0.0.0/0"],
    ["2001:db8::1/32", "2001:db8::/32"],
    ["::ffff:10.0.0.1/104", "10.0.0.0/8"],
    ["::ffff:10.0.0.0/90", "::ffc0:0:0/90"],
  ];
  for (const [text, meant] of table) {
    assertThrows(() => new CidrList([text!]), TypeError, text);
    assertEquals(
      expectedCidr(text!),
      `a network without bits beyond its prefix, "${meant}" or the address alone`,
    );
    assertEquals(expectedCidr(meant), undefined);
  }
});

Deno.test("new CidrList() names the entry that is wrong", () => {
  assertThrows(
    () => new CidrList(["10.0.0.0/8", "010.0.0.1"]),
    TypeError,
    `Cannot make a list of networks: expected ${EXPECTED}, received "010.0.0.1"`,
  );
});

Deno.test("CidrList.has() agrees with node:net's BlockList", () => {
  // Few values, so that addresses and networks meet.
  const byte = fc.constantFrom(0, 1, 127, 128, 254, 255);
  const word = fc.constantFrom(0, 1, 0x7fff, 0x8000, 0xffff);
  const ipv4 = fc.array(byte, { minLength: 4, maxLength: 4 });
  const ipv6 = fc.array(word, { minLength: 8, maxLength: 8 });
  const networks4 = fc.array(fc.tuple(ipv4, fc.nat(32)), { maxLength: 4 });
  const networks6 = fc.array(fc.tuple(ipv6, fc.nat(128)), { maxLength: 4 });
  const cut = (parts: number[], width: number, bits: number): number[] =>
    parts.map((part, i) => {
      const own = Math.min(width, Math.max(0, bits - width * i));
      return part & ~(2 ** (width - own) - 1);
    });
  const text4 = (parts: number[]): string => parts.join(".");
  const text6 = (parts: number[]): string => parts.map((part) => part.toString(16)).join(":");
  fc.assert(
    fc.property(networks4, networks6, ipv4, ipv6, (four, six, address4, address6) => {
      const oracle = new BlockList();
      const entries: string[] = [];
      for (const [parts, bits] of four) {
        const network = text4(cut(parts, 8, bits));
        entries.push(`${network}/${bits}`);
        oracle.addSubnet(network, bits, "ipv4");
      }
      for (const [parts, bits] of six) {
        const network = text6(cut(parts, 16, bits));
        entries.push(`${network}/${bits}`);
        oracle.addSubnet(network, bits, "ipv6");
      }
      const list = new CidrList(entries);
      assertEquals(list.has(text4(address4)), oracle.check(text4(address4), "ipv4"));
      assertEquals(list.has(`::ffff:${text4(address4)}`), oracle.check(text4(address4), "ipv4"));
      assertEquals(list.has(text6(address6)), oracle.check(text6(address6), "ipv6"));
    }),
    { ...SEED, numRuns: 3000 },
  );
});
