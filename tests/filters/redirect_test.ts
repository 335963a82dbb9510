import { assertEquals, assertThrows } from "@std/assert";
import { redirect } from "../../lib/filters/redirect.ts";
import { startProxy } from "../support/start_proxy.ts";
import { startUpstream } from "../support/start_upstream.ts";

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
    ["/old/\\evil.example", 302, "/evil.example"],
    ["/old/\\/evil.example", 302, "/evil.example"],
  ]],
  ["by a pattern", redirect(/^\/p\/(.*)$/, "/$1", { status: 301, keepQuery: false }), [
    ["/p/7?q", 301, "/7"],
    ["/p//evil.example", 301, "/evil.example"],
    ["/q/7", 200, undefined],
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

Deno.test("redirect() refuses what is no redirect", () => {
  assertThrows(() => redirect("old", "/new"), TypeError, 'must begin with "/"');
  assertThrows(() => redirect("/old", "/new", { status: 200 as 301 }), TypeError, "received 200");
});
