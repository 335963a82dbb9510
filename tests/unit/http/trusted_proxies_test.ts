import { assertEquals, assertThrows } from "@std/assert";
import {
  expectedTrustedProxy,
  type TrustedField,
  TrustedProxies,
} from "../../../lib/http/trusted_proxies.ts";

function ask(peer: string, fields: Record<string, string>, field?: TrustedField) {
  return new TrustedProxies(["loopback", "10.0.0.0/8", "2001:db8::/32"], field).ask(
    peer,
    new Headers(fields),
  );
}

Deno.test("TrustedProxies.trusts() knows names, networks, and IPv4 in the clothes of IPv6", () => {
  const trusted = new TrustedProxies(["loopback", "private", "198.51.100.0/24"]);
  for (const ip of ["127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "192.168.0.1", "fd00::1", "198.51.100.7"]) {
    assertEquals(trusted.trusts(ip), true, ip);
    if (!ip.includes(":")) assertEquals(trusted.trusts(`::ffff:${ip}`), true, ip);
  }
  for (const ip of ["", "8.8.8.8", "172.32.0.1", "2001:db8::1", "nonsense"]) {
    assertEquals(trusted.trusts(ip), false, ip);
  }
  assertEquals(new TrustedProxies(["unix"]).trusts(""), true);
});

Deno.test("TrustedProxies.ask() goes from right to left to the first address that is not trusted", () => {
  const table: [string | null, string][] = [
    [null, "10.0.0.1"],
    ["203.0.113.9", "203.0.113.9"],
    ["198.51.100.1, 203.0.113.9", "203.0.113.9"],
    ["198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"],
    ["198.51.100.1,203.0.113.9,::ffff:10.0.0.2", "203.0.113.9"],
    ["10.0.0.3, 10.0.0.2", "10.0.0.3"],
    // A spoofed beginning changes nothing.
    ["127.0.0.1, 203.0.113.9", "203.0.113.9"],
    ["203.0.113.9:4711", "203.0.113.9"],
    ["[2001:db9::1]:4711", "2001:db9::1"],
    ["2001:db9::1", "2001:db9::1"],
    ["garbage, 203.0.113.9", "203.0.113.9"],
    // Of whom a proxy says what cannot be read, nobody knows: not even that it is the proxy.
    ["203.0.113.9, unknown", "unknown"],
    ["203.0.113.9, unknown, 10.0.0.2", "unknown"],
    ["203.0.113.9, 010.0.0.2", "unknown"],
    ["203.0.113.9,", "unknown"],
    ["", "unknown"],
  ];
  for (const [field, clientIp] of table) {
    const fields: Record<string, string> = field === null ? {} : { "x-forwarded-for": field };
    assertEquals(ask("10.0.0.1", fields).clientIp, clientIp, field ?? "none");
  }
});

Deno.test("TrustedProxies.ask() reads the field that it is told, and no other", () => {
  const field =
    'for=1.2.3.4, for="[2001:db9::1]:80";proto=https;host=a.example, for=10.0.0.2;proto=https;host="b:80"';
  const both = {
    forwarded: field,
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-proto": "http",
    "x-forwarded-host": "c.example",
  };
  assertEquals(ask("10.0.0.1", both, "forwarded"), {
    clientIp: "2001:db9::1",
    scheme: "https",
    host: "b:80",
    said: field,
  });
  assertEquals(ask("10.0.0.1", both), {
    clientIp: "203.0.113.9",
    scheme: "http",
    host: "c.example",
    said: "203.0.113.9",
  });
  const nothing = { clientIp: "10.0.0.1", scheme: null, host: null, said: null };
  assertEquals(ask("10.0.0.1", { forwarded: field }), nothing);
  assertEquals(ask("10.0.0.1", { ...both, forwarded: "for=x" }, "forwarded").clientIp, "unknown");
  const { forwarded: _forwarded, ...others } = both;
  assertEquals(ask("10.0.0.1", others, "forwarded"), nothing);
});

Deno.test("TrustedProxies.ask() believes Forwarded as far as it can be read, and says so to servers", () => {
  const table: [field: string, clientIp: string, said: string][] = [
    ["for=203.0.113.9", "203.0.113.9", "for=203.0.113.9"],
    ["for=127.0.0.1, for=203.0.113.9", "203.0.113.9", "for=127.0.0.1, for=203.0.113.9"],
    // Of a client that would swallow what the proxy adds.
    ['for="127.0.0.1, for=203.0.113.9', "203.0.113.9", "for=unknown, for=203.0.113.9"],
    ['for="\\", for=203.0.113.9', "203.0.113.9", "for=unknown, for=203.0.113.9"],
    ['for="x, for=203.0.113.9, for=10.0.0.2', "203.0.113.9", "for=unknown, for=203.0.113.9, for=10.0.0.2"],
    ['for="127.0.0.1, for=10.0.0.2', "unknown", "for=unknown, for=10.0.0.2"],
    ["for=_hidden", "unknown", "for=_hidden"],
    ["for=unknown, for=10.0.0.2", "unknown", "for=unknown, for=10.0.0.2"],
    ["proto=https", "unknown", "proto=https"],
    ["for=203.0.113.9;for=127.0.0.1", "unknown", "for=unknown"],
    ['for=203.0.113.9, for="', "unknown", "for=unknown"],
    ["", "unknown", "for=unknown"],
  ];
  for (const [forwarded, clientIp, said] of table) {
    const word = ask("10.0.0.1", { forwarded }, "forwarded");
    assertEquals([word.clientIp, word.said], [clientIp, said], forwarded);
  }
});

Deno.test("TrustedProxies.ask() takes scheme and host of the nearest proxy, and no other scheme than two", () => {
  const word = (proto: string, host = "a, b") =>
    ask("10.0.0.1", { "x-forwarded-proto": proto, "x-forwarded-host": host });
  assertEquals(word("https"), { clientIp: "10.0.0.1", scheme: "https", host: "b", said: null });
  assertEquals(word("http, HTTPS").scheme, "https");
  assertEquals(word("wss").scheme, null);
  for (const bad of ["a b", "a/b", "a@b", "a:b", 'a"', "a,"]) assertEquals(word("http", bad).host, null, bad);
});

Deno.test("TrustedProxies refuse what is neither a name nor a network", () => {
  assertThrows(() => new TrustedProxies(["10.0.0.1/8"]), TypeError);
  assertEquals(expectedTrustedProxy("loopback"), undefined);
  assertEquals(expectedTrustedProxy("10.0.0.0/8"), undefined);
  for (const bad of ["toString", "010.0.0.1", "10/8", 5, null]) {
    assertEquals(expectedTrustedProxy(bad)?.startsWith('"loopback", "private", "unix", '), true, `${bad}`);
  }
});
