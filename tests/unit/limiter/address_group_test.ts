import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressGroup } from "../../../lib/limiter/key_spec.ts";
import { SEED } from "./arrivals.ts";

Deno.test("addressGroup() leaves IPv4 as it is and knows it in the clothes of IPv6", () => {
  assertEquals(addressGroup("203.0.113.9", 64), "203.0.113.9");
  assertEquals(addressGroup("::ffff:203.0.113.9", 64), "203.0.113.9");
  assertEquals(addressGroup("::FFFF:cb00:7109", 64), "203.0.113.9");
  assertEquals(addressGroup("0:0:0:0:0:ffff:203.0.113.9", 64), "203.0.113.9");
});

Deno.test("addressGroup() makes one of all addresses of an IPv6 network", () => {
  const group = "2001:db8:1:2::/64";
  for (
    const address of [
      "2001:db8:1:2::1",
      "2001:DB8:1:2:ffff:ffff:ffff:ffff",
      "2001:0db8:0001:0002::",
      "2001:db8:1:2::1%eth0",
    ]
  ) {
    assertEquals(addressGroup(address, 64), group);
  }
  assertEquals(addressGroup("2001:db8:1:3::1", 64), "2001:db8:1:3::/64");
  assertEquals(addressGroup("2001:db8:1:2ff::1", 56), "2001:db8:1:200::/56");
  assertEquals(addressGroup("::1", 64), "0:0:0:0::/64");
  assertEquals(addressGroup("::1", 128), "0:0:0:0:0:0:0:1::/128");
  assertEquals(addressGroup("ffff::", 1), "8000::/1");
});

Deno.test("addressGroup() lets what is no address stand for itself", () => {
  for (
    const text of [
      "",
      "unknown",
      "1::2::3",
      "1:2:3",
      ":1",
      "1:",
      "12345::",
      "g::1",
      "::1.2.3",
      "::1.2.3.256",
      "1:2:3:4:5:6:7:8:9",
      "::1.2.3.4:5",
    ]
  ) {
    assertEquals(addressGroup(text, 64), text);
  }
});

Deno.test("addressGroup() gives the same for every way to write an address", () => {
  const hextet = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
  fc.assert(
    fc.property(
      fc.array(hextet, { minLength: 8, maxLength: 8 }),
      fc.integer({ min: 1, max: 128 }),
      (hextets, prefix) => {
        const plain = hextets.map((one) => one.toString(16)).join(":");
        // The URL parser writes the shortest form of RFC 5952.
        const short = new URL(`http://[${plain}]/`).hostname.slice(1, -1);
        const long = hextets.map((one) => one.toString(16).padStart(4, "0").toUpperCase()).join(":");
        assertEquals(addressGroup(short, prefix), addressGroup(plain, prefix));
        assertEquals(addressGroup(long, prefix), addressGroup(plain, prefix));
      },
    ),
    SEED,
  );
});
