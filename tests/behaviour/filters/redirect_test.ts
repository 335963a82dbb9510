import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { redirect } from "../../../lib/filters/redirect_and_rewrite.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const cases: [string, ReturnType<typeof redirect>, [string, number, string | undefined][]][] = [
  ["to another site", redirect("/old", "https://new.example/", { status: 308 }), [
    ["/old", 308, "https://new.example"],
    ["/old/a?b=c", 308, "https://new.example/a?b=c"],
    ["/old.evil.example", 200, undefined],
    ["/oldest", 200, undefined],
  ]],
  ["on the same site", redirect("/old", "/"), [
    ["/old", 302, "/"],
    ["/old/a", 302, "/a"],
    ["/old//evil.example/a", 302, "/evil.example/a"],
    ["/old/\\evil.example", 302, "/%5Cevil.example"],
    ["/old/\\/evil.example", 302, "/%5C/evil.example"],
    ["/%6fld/./a/../%7e", 302, "/~"],
    ["//old/a", 302, "/a"],
    ["/x/../old/a%2fb", 302, "/a%2Fb"],
    // A server could read /old in each of these.
    ["/old%2fa", 400, undefined],
    ["/old;x", 400, undefined],
    ["/x/..%2fold", 400, undefined],
    ["/old/../a", 400, undefined],
    ["/a%2fb", 200, undefined],
  ]],
  ["by a pattern", redirect(/^\/p\/(.*)$/, "/$1", { status: 301, keepQuery: false }), [
    ["/p/7?q", 301, "/7"],
    ["/p//evil.example", 301, "/evil.example"],
    ["/q/7", 200, undefined],
  ]],
  ["to another site by a pattern", redirect(/^\/r6(.*)$/, "https://new.example$1"), [
    ["/r6", 302, "https://new.example"],
    ["/r6/a?b", 302, "https://new.example/a?b"],
    ["/r6.evil.example", 302, "https://new.example/.evil.example"],
    ["/r6@evil.example/a", 302, "https://new.example/@evil.example/a"],
    ["/r6:80@evil.example", 302, "https://new.example/:80@evil.example"],
    ["/r6:8443/a", 302, "https://new.example/:8443/a"],
    ["/r6\\evil.example", 302, "https://new.example/%5Cevil.example"],
    ["/r6\\@evil.example", 302, "https://new.example/%5C@evil.example"],
    ["/r6-evil", 302, "https://new.example/-evil"],
  ]],
  ["to another site by a pattern that leaves something behind", redirect(/^\/old/, "https://new.example"), [
    ["/old/a", 302, "https://new.example/a"],
    ["/old.evil.example", 302, "https://new.example/.evil.example"],
    ["/old@evil.example", 302, "https://new.example/@evil.example"],
  ]],
  ["to another port by a pattern", redirect(/^\/old(.*)$/, "//new.example:8443$1"), [
    ["/old/a", 302, "//new.example:8443/a"],
    ["/old1", 302, "//new.example:8443/1"],
    ["//new.example:8443/old", 400, undefined],
  ]],
  ["by a pattern that matches further on", redirect(/old/, "//new.example/x"), [
    ["/evil/old", 302, "/evil///new.example/x"],
    ["//evil.example/old", 302, "/evil.example///new.example/x"],
    ["//new.example.evil.example/old", 302, "/new.example.evil.example///new.example/x"],
  ]],
  ["by a pattern, with what the path makes of an address", redirect(/^\/go\/(.*)$/, "$1"), [
    ["/go/https://evil.example", 302, "/https:/evil.example"],
    ["/go///evil.example", 302, "/evil.example"],
    ["/go/\\\\evil.example", 302, "/%5C%5Cevil.example"],
  ]],
  ["with a query of its own", redirect("/old", "/new?a=b"), [["/old?c=d", 302, "/new?a=b"]]],
  ["by a function", redirect(({ host, target }) => target === "/a" ? `https://${host}/b` : null), [
    ["/a", 302, "https://h/b"],
    ["/c", 200, undefined],
  ]],
];

for (const [name, filter, expected] of cases) {
  Deno.test(`redirect() sends clients elsewhere ${name}`, async () => {
    await using upstream = startUpstream();
    await using proxy = await startProxy({ upstreams: [upstream.address], filters: [filter] });
    const got: typeof expected = [];
    for (const [target] of expected) {
      const { status, field } = await proxy.ask(`GET ${target}`);
      got.push([target, status, field("location")]);
    }
    assertEquals(got, expected);
  });
}

Deno.test("redirect() does not let a target begin fields of its own", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [redirect(({ target }) => decodeURIComponent(target))],
  });
  const { status, field } = await proxy.ask("GET /a%0d%0aSet-Cookie:%20a=b");
  assertEquals([status, field("set-cookie")], [500, undefined]);
});

Deno.test("redirect() refuses an address whose host would come from the path, or that has none", () => {
  const hosts = [
    "https://$1.example/",
    "https://new.$1",
    "https://new.example:$1/",
    "https://u@$1",
    "//$1/a",
  ];
  const none = [
    "https:$1",
    "https:/$1",
    "https://",
    "//",
    "https:///a",
    "//\\a",
    "https://a$$$1",
    "https://$<host>/",
  ];
  for (const to of [...hosts, ...none]) {
    assertThrows(
      () => redirect(/^\/(.*)$/, to),
      TypeError,
      "must have a host that does not come from the path",
    );
  }
  for (const to of ["https://", "//", "https:/a", "https:"]) {
    assertThrows(() => redirect("/a", to), TypeError, "must have a host");
  }
  for (const to of ["https://new.example$&", "https://[::1]$1", "https://new.example/$1", "https://a?$1"]) {
    redirect(/^\/(.*)$/, to);
  }
  redirect("/a", "https://new.example/$1");
});

Deno.test("redirect() never sends a client to another host than the one that is written, whatever it asks for", async () => {
  await using upstream = startUpstream();
  const rules: [RegExp, string][] = [
    [/^\/a(.*)$/, "https://new.example$1"],
    [/^\/a/, "https://new.example"],
    [/a/, "https://new.example/b"],
    [/^\/a(?<rest>.*)$/, "//new.example:8443$<rest>"],
    [/^\/a(.*)$/, "$1"],
    [/^\/a(.*)$/, "/$1"],
    [/a/g, "$&"],
  ];
  const text = fc.string({ unit: fc.constantFrom(..."a/\\.@:[]e1%2f;"), maxLength: 12 });
  for (const [from, to] of rules) {
    await using proxy = await startProxy({ upstreams: [upstream.address], filters: [redirect(from, to)] });
    await fc.assert(
      fc.asyncProperty(text, async (rest) => {
        const location = (await proxy.ask(`GET /a${rest}`)).field("location");
        if (location === undefined) return;
        const { host, username } = new URL(location, "https://h.example/");
        assert(["h.example", "new.example", "new.example:8443"].includes(host), location);
        assertEquals(username, "");
      }),
      { numRuns: 60, seed: 306 },
    );
  }
});

Deno.test("redirect() refuses what is no redirect", () => {
  assertThrows(() => redirect("old", "/new"), TypeError, 'begins with "/"');
  // A rule with a star would match no request.
  assertThrows(() => redirect("/old/*", "/new"), TypeError, 'has no "*"');
  assertThrows(() => redirect("/old", "/new", { status: 200 as 301 }), TypeError, "received 200");
});
