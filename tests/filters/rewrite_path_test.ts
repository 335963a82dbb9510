import { assertEquals, assertThrows } from "@std/assert";
import { rewritePath } from "../../lib/filters/rewrite_path.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { startProxy } from "../support/start_proxy.ts";

const cases: [string, ReturnType<typeof rewritePath>, [string, string][]][] = [
  ["a prefix", rewritePath("/api", "/v1"), [
    ["/api", "/v1"],
    ["/api/", "/v1/"],
    ["/api/a?b=/api/c", "/v1/a?b=/api/c"],
    ["/apix", "/apix"],
    ["/x/api/a", "/x/api/a"],
    ["/%61pi/a", "/%61pi/a"],
    ["/api/..%2Fb", "/v1/..%2Fb"],
    ["/api/../b", "/v1/../b"],
    ["/api//a/%2e%2E/b", "/v1//a/%2e%2E/b"],
    ["//api/a", "//api/a"],
  ]],
  ["a prefix that goes", rewritePath("/api/", "/"), [
    ["/api", "/"],
    ["/api?a", "/?a"],
    ["/api/a/b", "/a/b"],
    ["/api//evil.example/", "/evil.example/"],
    ["/api/\\evil.example/", "/evil.example/"],
  ]],
  ["all paths", rewritePath("/", "/app"), [["/", "/app/"], ["/a", "/app/a"]]],
  ["a pattern", rewritePath(/^\/u\/(\d+)/g, "/users/$1"), [
    ["/u/12/x?y", "/users/12/x?y"],
    ["/u/12", "/users/12"],
    ["/u/a", "/u/a"],
    ["/?/u/1", "/?/u/1"],
  ]],
  ["a pattern that takes the slash too", rewritePath(/^\/api\//, ""), [
    ["/api/a", "/a"],
    ["/api//evil.example", "/evil.example"],
    ["/api/@evil.example", "/@evil.example"],
    ["/api/:80", "/:80"],
  ]],
  ["a function", rewritePath((target, ctx) => `/${ctx.host}${target}`), [["/a?b", "/h/a?b"]]],
];

for (const [name, filter, targets] of cases) {
  Deno.test(`rewritePath() rewrites ${name} and leaves every other character alone`, async () => {
    await using upstream = recordingUpstream();
    await using proxy = await startProxy({ upstreams: [upstream.address], filters: [filter] });
    const got: [string, string][] = [];
    for (const [target] of targets) {
      await proxy.ask(`GET ${target}`);
      got.push([target, upstream.requests.at(-1)!.startLine.split(" ")[1]!]);
    }
    assertEquals(got, targets);
  });
}

Deno.test("rewritePath() refuses a target that would be more than one", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [rewritePath((target) => decodeURIComponent(target))],
  });
  for (const target of ["/a%20HTTP/1.1%0d%0aX-Admin:%20yes", "/a%20b", "/a%00", "/a%23b"]) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 500, target);
  }
  assertEquals(upstream.requests.length, 0);
  // What is not ASCII has one way to be written.
  assertEquals((await proxy.ask("GET /%e2%82%ac")).status, 200);
  assertEquals(upstream.requests[0]!.startLine, "GET /%E2%82%AC HTTP/1.1");
});

Deno.test("rewritePath() refuses paths that are none", () => {
  assertThrows(() => rewritePath("api", "/v1"), TypeError, 'must begin with "/"');
  assertThrows(() => rewritePath("/api", "v1"), TypeError, 'must begin with "/"');
});
