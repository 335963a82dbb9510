import { assertEquals } from "@std/assert";
import {
  addForwarded,
  type ForwardedOptions,
  isForwardedField,
  LoopMark,
  resolveForwarded,
} from "../../../lib/http/proxy_fields.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";

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

interface Asked {
  peerIp?: string;
  scheme?: string;
  forwardedHost?: string | null;
  forwardedFor?: string | null;
  forwarded?: string | null;
  via?: string | null;
}

function added(asked: Asked, options: ForwardedOptions = {}): [string, string][] {
  const { peerIp = "192.0.2.1", scheme = "http", forwardedHost = null } = asked;
  const { via = null, forwardedFor = null, forwarded = null } = asked;
  const list: string[] = [];
  addForwarded(list, resolveForwarded(options), {
    identity: { peerIp, peerScheme: "http", scheme, forwardedHost, forwardedFor, forwarded },
    host: "shop.example:80",
    via,
  });
  return list.flatMap((name, i) => i % 2 === 0 ? [[name, list[i + 1]!] as [string, string]] : []);
}

Deno.test("addForwarded() says who asked, for which host, and how", () => {
  assertEquals(added({ peerIp: "2001:db8::1", scheme: "https" }), [
    ["x-forwarded-for", "2001:db8::1"],
    ["x-forwarded-proto", "https"],
    ["x-forwarded-host", "shop.example:80"],
  ]);
});

Deno.test("addForwarded() says nothing of a client without an address", () => {
  assertEquals(added({ peerIp: "" }).map(([name]) => name), ["x-forwarded-proto", "x-forwarded-host"]);
});

Deno.test("addForwarded() puts the proxy at the end of Via where that is wanted", () => {
  assertEquals(added({}, { via: true }).at(-1), ["via", "1.1 lbproxy"]);
  assertEquals(added({ via: "1.0 a, 2 b" }, { via: true }).at(-1), ["via", "1.0 a, 2 b, 1.1 lbproxy"]);
  assertEquals(added({ via: "1.0 a, 2 b" }).at(-1), ["via", "1.0 a, 2 b"]);
});

Deno.test("addForwarded() goes on with what a trusted peer says", () => {
  const said = { forwardedFor: "203.0.113.9", forwarded: "for=203.0.113.9" };
  assertEquals(added({ ...said, peerIp: "" }, { via: false })[0], ["x-forwarded-for", "203.0.113.9"]);
  const trusted = { forwardedHost: "public.example", scheme: "https", ...said };
  assertEquals(added(trusted, { forwarded: true, via: false }), [
    ["x-forwarded-for", "203.0.113.9, 192.0.2.1"],
    ["x-forwarded-proto", "https"],
    ["x-forwarded-host", "public.example"],
    ["forwarded", 'for=203.0.113.9, for=192.0.2.1;host="shop.example:80";proto=http'],
  ]);
  assertEquals(added({}, { forwarded: true, via: false }), [
    ["x-forwarded-for", "192.0.2.1"],
    ["x-forwarded-proto", "http"],
    ["x-forwarded-host", "shop.example:80"],
    ["forwarded", 'for=192.0.2.1;host="shop.example:80";proto=http'],
  ]);
});

Deno.test("addForwarded() leaves out what is not wanted, and the Via of others alone", () => {
  assertEquals(added({ via: "1.0 a" }, { xForwarded: false, via: false }), [["via", "1.0 a"]]);
  assertEquals(added({}, { xForwarded: false, via: false }), []);
});

Deno.test("LoopMark marks what comes from proxies, and everything where nothing else tells of this one", () => {
  const marked = (options: ForwardedOptions, cdnLoop: string | null, fromProxy: boolean) => {
    const headers = new HeaderFields(cdnLoop === null ? [] : [["cdn-loop", cdnLoop]]);
    new LoopMark(resolveForwarded(options), "1").add(headers, fromProxy);
    return [...headers].map((line) => line.join(": ")).join();
  };
  assertEquals(marked({}, null, false), "");
  assertEquals(marked({}, null, true), "cdn-loop: lbproxy-1");
  assertEquals(marked({}, "a.example; x=1", false), "cdn-loop: a.example; x=1, lbproxy-1");
  const nothing = { xForwarded: false, via: false };
  assertEquals(marked(nothing, null, false), "cdn-loop: lbproxy-1");
  for (const telling of ["xForwarded", "forwarded", "via"]) {
    assertEquals(marked({ ...nothing, [telling]: true }, null, false), "", telling);
  }
});

Deno.test("LoopMark knows its own name among others", () => {
  const mark = new LoopMark(resolveForwarded(), "1f");
  for (const own of ["lbproxy-1f", "a, lbproxy-1f", "lbproxy-1f;x=y, b"]) assertEquals(mark.isIn(own), true);
  for (const other of ["lbproxy", "lbproxy-1", "lbproxy-2f, a"]) assertEquals(mark.isIn(other), false);
});
