import { assertEquals, assertThrows } from "@std/assert";
import { redirect, rewritePath } from "../../../lib/filters/redirect_and_rewrite.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";

const cases: [string, ReturnType<typeof rewritePath>, [string, string][]][] = [
  ["a prefix", rewritePath("/api", "/v1"), [
    ["/api", "/v1"],
    ["/api/", "/v1/"],
    ["/api/a?b=/api/c", "/v1/a?b=/api/c"],
    ["/apix", "/apix"],
    ["/x/api/a", "/x/api/a"],
    ["/%61pi/a", "/v1/a"],
    ["/api/..%2Fb", "/v1/..%2Fb"],
    ["/api//a/%2e%2E/b", "/v1/b"],
    ["//api/a", "/v1/a"],
    ["/x/../api/%7e", "/v1/~"],
    ["/x/./%61//b", "/x/./%61//b"],
    ["/x%2fy;z", "/x%2fy;z"],
  ]],
  ["a prefix that goes", rewritePath("/api/", "/"), [
    ["/api", "/"],
    ["/api?a", "/?a"],
    ["/api/a/b", "/a/b"],
    ["/api//evil.example/", "/evil.example/"],
    ["/api/\\evil.example/", "/%5Cevil.example/"],
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

Deno.test("rewritePath() refuses a path that it is not about, but that a server could read so", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [rewritePath("/internal", "/nothing"), rewritePath(/^\/u\/\d+$/, "/user")],
  });
  for (
    const target of [
      "/internal%2fx",
      "/x/..%2finternal",
      "/internal;x",
      "/\\h/internal",
      "/internal/../x",
      "/u%2f1",
    ]
  ) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 400, target);
  }
  assertEquals(upstream.requests, []);
});

Deno.test("rewritePath() and redirect() take paths as they stand where they are raw", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    paths: "raw",
    filters: [rewritePath("/api", "/v1"), redirect("/old", "/new")],
  });
  const table: [string, string][] = [
    ["/api//a/%7e", "/v1//a/%7e"],
    ["/api/../b", "/v1/../b"],
    ["/%61pi/a", "/%61pi/a"],
    ["/api%2fa", "/api%2fa"],
  ];
  for (const [target, sent] of table) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 200, target);
    assertEquals(upstream.requests.at(-1)!.startLine.split(" ")[1], sent);
  }
  assertEquals((await proxy.ask("GET /old//a/%7e")).field("location"), "/new//a/%7e");
});

Deno.test("rewritePath() finds a prefix that is not written in its normal form", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [rewritePath("/%7eann", "/a"), rewritePath("/café", "/b")],
    routes: [{ match: { path: "/%7estrip/*" }, rewrite: { stripPrefix: "/%7estrip" } }, {}],
  });
  for (
    const [target, sent] of [["/~ann/x", "/a/x"], ["/caf%c3%a9/x", "/b/x"], ["/%7Estrip/x", "/x"]] as const
  ) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 200, target);
    assertEquals(upstream.requests.at(-1)!.startLine.split(" ")[1], sent);
  }
});

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
  assertThrows(() => rewritePath("api", "/v1"), TypeError, 'begins with "/"');
  assertThrows(() => rewritePath("/api", "v1"), TypeError, 'begins with "/"');
});
