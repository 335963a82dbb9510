import { assertEquals, assertStringIncludes } from "@std/assert";
import { describeConfig } from "../../../lib/config/describe_config.ts";
import { describeRoutes } from "../../../lib/config/describe_limits.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";

const upstreams = { stable: { servers: ["a:80"] }, canary: { servers: ["b:80"] } };

Deno.test("describeRoutes() says what each route takes, where it goes, and what is different there", () => {
  const config = resolveConfig({
    upstreams,
    forward: "normalized",
    routes: [
      {
        name: "shop",
        match: {
          host: ["shop.example", "*.shop.example"],
          path: "/api/*",
          method: "GET",
          headers: { "x-a": "1", "x-b": true, "x-c": false, "x-d": /^2/ },
        },
        upstream: { stable: 95, canary: 5 },
        splitKey: "cookie:user",
        rewrite: { stripPrefix: "/api" },
        limiter: { key: "ip", limit: 2, window: "1s" },
        timeouts: { idle: "5s", total: "1m" },
        paths: "raw",
        filters: [{ logging() {} }],
      },
      { match: { path: "/free" }, upstream: "stable", limiter: false, forward: "received", paths: "refuse" },
      { upstream: "canary" },
    ],
  });
  assertEquals(describeRoutes(config.routes, config), [
    'route     shop: GET, host shop.example or *.shop.example, path /api/*, x-a "1", with x-b, without x-c, x-d like /^2/ -> 95% pool stable, 5% pool canary by cookie user',
    "  paths     compared as they stand; servers get them unchanged",
    "  rewrite   the target",
    "  limit     shop",
    "    at most 2 requests per 1s for each client address",
    "    up to 4 around the end of a window",
    "    response fields: x-rate-limit, draft-11",
    "  timeouts  idle 5s, total 1m",
    "  filters   logging",
    "route     /free: path /free -> pool stable",
    "  paths     taken in their normal form alone; servers get them unchanged",
    "  limits    none",
    "route     /*: everything -> pool canary",
    "paths     compared in their normal form; servers get them in that form",
  ]);
  assertStringIncludes(describeConfig(config), "\nroute     shop: GET");
  assertEquals(describeRoutes([], resolveConfig({ upstreams: ["a:80"] })), []);
  const refusing = resolveConfig({ upstreams: ["a:80"], paths: "refuse" });
  assertEquals(describeRoutes([], refusing), [
    "paths     taken in their normal form alone; servers get them unchanged",
  ]);
});

Deno.test("describeRoutes() says of a route that it is never reached behind one that takes everything", () => {
  const config = resolveConfig({
    upstreams: ["a:80"],
    routes: [{ match: { path: "/x" } }, { name: "rest" }, { match: { path: "/y" } }],
  });
  assertEquals(describeRoutes(config.routes, config).slice(0, 3), [
    "route     /x: path /x -> pool default",
    "route     rest: everything -> pool default",
    "route     /y: path /y -> pool default, never used: rest before it matches every request",
  ]);
});

Deno.test("describeRoutes() says what a request gets that no route matches, where there can be one", () => {
  const lines = (routes: unknown) => {
    const config = resolveConfig({ upstreams: ["a:80"], routes });
    return describeRoutes(config.routes, config).filter((line) => line.includes("404"));
  };
  assertEquals(lines([{ match: { path: "/x" } }]), ["          a request that no route matches gets 404"]);
  assertEquals(lines([{ match: { path: "/x" } }, {}]), []);
});
