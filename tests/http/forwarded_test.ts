import { assertEquals } from "@std/assert";
import { addForwarded, isForwardedField } from "../../lib/http/forwarded.ts";

Deno.test("isForwardedField() knows whatever a client could pose as a proxy with", () => {
  const known = [
    "For",
    "Host",
    "Port",
    "Proto",
    "Server",
    "Prefix",
    "Scheme",
    "Ssl",
    "By",
    "User",
    "Client-Cert",
  ];
  const names = ["forwarded", ...known.map((name) => `x-forwarded-${name.toLowerCase()}`)];
  // The same variable behind CGI.
  names.push("x_forwarded_for", "x-forwarded_for", "x_forwarded-host");
  for (const name of names) assertEquals(isForwardedField(name), true, name);
  for (
    const name of [
      "",
      "x-forward",
      "forwarded-x",
      "via",
      "x-real",
      "x-forwardedfor",
      "x.forwarded-for",
      "y-forwarded-for",
      "host",
    ]
  ) {
    assertEquals(isForwardedField(name), false, name);
  }
});

Deno.test("addForwarded() says who asked, for which host, and how", () => {
  const list = ["accept", "*/*"];
  addForwarded(list, { clientIp: "2001:db8::1", host: "shop.example:80", scheme: "https", via: null });
  assertEquals(list, [
    "accept",
    "*/*",
    "x-forwarded-for",
    "2001:db8::1",
    "x-forwarded-proto",
    "https",
    "x-forwarded-host",
    "shop.example:80",
    "via",
    "1.1 lbproxy",
  ]);
});

Deno.test("addForwarded() says nothing of a client without an address", () => {
  const list: string[] = [];
  addForwarded(list, { clientIp: "", host: "h", scheme: "http", via: null });
  assertEquals(list.includes("x-forwarded-for"), false);
});

Deno.test("addForwarded() puts the proxy at the end of Via", () => {
  const list: string[] = [];
  addForwarded(list, { clientIp: "", host: "h", scheme: "http", via: "1.0 a, 2 b" });
  assertEquals(list.slice(-2), ["via", "1.0 a, 2 b, 1.1 lbproxy"]);
});
