import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import {
  compileKey,
  type KeySource,
  type KeySpec,
  type NamedKey,
  parseKeySpec,
} from "../../../lib/limiter/key_spec.ts";
import { SEED } from "./arrivals.ts";

function source(
  parts: Partial<Omit<KeySource, "request">> & { headers?: Record<string, string> } = {},
): KeySource {
  const { headers = {}, clientIp = "192.0.2.1", target = "/", host = "a.example" } = parts;
  return { request: new Request("http://a.example/", { headers }), clientIp, target, host };
}

function keyOf(spec: KeySpec, parts: Parameters<typeof source>[0] = {}): string | null {
  return compileKey(spec)(source(parts));
}

Deno.test("compileKey() takes a field, and nothing when it is absent or empty", () => {
  assertEquals(keyOf("header:AppId", { headers: { appid: "x" } }), "x");
  assertEquals(keyOf("header:appid"), null);
  assertEquals(keyOf("header:appid", { headers: { appid: "" } }), null);
});

Deno.test("compileKey() takes the client's address by its network, and nothing on a unix socket", () => {
  assertEquals(keyOf("ip"), "192.0.2.1");
  assertEquals(keyOf("ip", { clientIp: "2001:db8::1" }), "2001:db8:0:0::/64");
  assertEquals(compileKey("ip", { ipv6Prefix: 48 })(source({ clientIp: "2001:db8::1" })), "2001:db8:0::/48");
  assertEquals(keyOf("ip", { clientIp: "" }), null);
});

Deno.test("compileKey() takes the path without the query, one for all of its spellings", () => {
  for (const target of ["/b?c=d", "/a/../%62?c=d", "//h/b", "/b;x?y", "/a/..%2fb"]) {
    assertEquals(keyOf("path", { target }), "/b", target);
  }
  assertEquals(keyOf("path", { target: "/a" }), "/a");
});

Deno.test("compileKey() takes one host whatever its case, port and final dot", () => {
  for (const host of ["a.example", "A.Example", "a.example:8080", "a.example.", "a.example.:80"]) {
    assertEquals(keyOf("host", { host }), "a.example");
  }
  assertEquals(keyOf("host", { host: "[2001:db8::1]:80" }), "[2001:db8::1]");
  assertEquals(keyOf("host", { host: "[2001:db8::1]" }), "[2001:db8::1]");
  assertEquals(keyOf("host", { host: "" }), null);
});

Deno.test("compileKey() finds a cookie by its whole name", () => {
  const cookie = "sid2=no; asid=no; sid=yes ;sid=later; empty=";
  assertEquals(keyOf("cookie:sid", { headers: { cookie } }), "yes");
  assertEquals(keyOf("cookie:asid", { headers: { cookie } }), "no");
  assertEquals(keyOf("cookie:id", { headers: { cookie } }), null);
  assertEquals(keyOf("cookie:empty", { headers: { cookie } }), null);
  assertEquals(keyOf("cookie:sid"), null);
});

Deno.test("compileKey() finds a query parameter by its whole name, decoded", () => {
  assertEquals(keyOf("query:key", { target: "/?akey=1&key=a%20b+c&key=2" }), "a b c");
  assertEquals(keyOf("query:key", { target: "/?%6bey=x" }), "x");
  assertEquals(keyOf("query:key", { target: "/?key=100%" }), "100%");
  for (const target of ["/", "/?", "/?key", "/?key=", "/?keys=1", "/key=1"]) {
    assertEquals(keyOf("query:key", { target }), null);
  }
});

Deno.test("compileKey() decodes a query as URLSearchParams does", () => {
  const word = fc.string({
    minLength: 1,
    maxLength: 6,
    unit: fc.constantFrom("a", "b", "é", " ", "+", "%", "&", "="),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(word, word), { minLength: 1, maxLength: 4 }), (pairs) => {
      const query = new URLSearchParams(pairs);
      for (const [name] of pairs) {
        assertEquals(keyOf(`query:${name}`, { target: `/?${query}` }), query.get(name));
      }
    }),
    SEED,
  );
});

Deno.test("compileKey() keeps combined keys apart that look alike when joined", () => {
  const spec: readonly NamedKey[] = ["header:a", "header:b"];
  const value = fc.string({ maxLength: 3, unit: fc.constantFrom("1", ":", "-", "x") });
  fc.assert(
    fc.property(value, value, value, value, (a1, b1, a2, b2) => {
      const first = keyOf(spec, { headers: { a: a1, b: b1 } });
      const second = keyOf(spec, { headers: { a: a2, b: b2 } });
      if (a1 === a2 && b1 === b2) assertEquals(first, second);
      else assertNotEquals(first, second);
    }),
    SEED,
  );
});

Deno.test("compileKey() lets a combined key be missing only when all of it is", () => {
  assertEquals(keyOf(["header:a", "header:b"]), null);
  assertNotEquals(keyOf(["ip", "header:a"]), null);
  assertNotEquals(keyOf(["ip", "header:a"]), keyOf(["ip", "header:a"], { headers: { a: "-" } }));
  assertEquals(keyOf(["ip"]), keyOf("ip"));
});

Deno.test("compileKey() hands a function the request and its context", () => {
  const spec = (request: Request, ctx: KeySource): string => `${request.method} ${ctx.clientIp}`;
  assertEquals(keyOf(spec), "GET 192.0.2.1");
  assertEquals(keyOf(() => ""), null);
});

Deno.test("parseKeySpec() accepts what is a key and nothing else", () => {
  const compute = (): null => null;
  for (const good of ["ip", "path", "host", "header:x", "cookie:x", "query:x y", ["ip", "path"], compute]) {
    assertEquals(parseKeySpec(good), good as KeySpec);
  }
  for (
    const bad of [
      "",
      "ips",
      "header:",
      "header:a b",
      "cookie:a;b",
      "query:",
      "body:x",
      [],
      ["ip", 1],
      [compute],
      1,
      null,
      {},
    ]
  ) {
    assertEquals(parseKeySpec(bad), undefined);
  }
});

Deno.test("compileKey() asks for the request only where a function wants it, since it has to be made", () => {
  const source = {
    get request(): Request {
      throw new Error("somebody has asked for the request");
    },
    fields: new Headers({ appid: "me", cookie: "sid=1" }),
    clientIp: "192.0.2.1",
    target: "/a?k=1",
    host: "h",
  };
  for (const spec of ["ip", "path", "host", "header:appid", "cookie:sid", "query:k"] as const) {
    assert(compileKey(spec)(source) !== null, spec);
  }
});
