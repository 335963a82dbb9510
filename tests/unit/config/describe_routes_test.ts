import { assertEquals, assertStringIncludes } from "@std/assert";
import { describeConfig, findDeadEnds } from "../../../lib/config/describe_config.ts";
import { describeRoutes } from "../../../lib/config/describe_limits.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";
import type { RouteOptions } from "../../../lib/config/route_options.ts";
import { basicAuth } from "../../../lib/filters/basic_auth.ts";
import { securityHeaders } from "../../../lib/filters/headers.ts";

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
    "  rewrite   removes /api from the beginning of the path",
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

Deno.test("findDeadEnds() warns of a route behind one that takes everything, which gets nothing", () => {
  for (const match of [undefined, {}, { path: "/*" }, { path: ["/a", "/*"] }]) {
    const config = resolveConfig({
      upstreams: ["a:80"],
      routes: [{ match: { path: "/x" } }, { name: "rest", ...(match && { match }) }, {
        match: { path: "/y" },
      }],
    });
    assertEquals(findDeadEnds(config), [{
      path: "routes[2]",
      message: "(/y) is never reached: routes[1] (rest) matches every request; put it in front of that",
    }]);
  }
  const config = resolveConfig({
    upstreams: ["a:80"],
    routes: [{ match: { path: "/*", method: "GET" } }, { match: { path: "/*", host: "a" } }, {}],
  });
  assertEquals(findDeadEnds(config), []);
});

Deno.test("describeRoutes() tells of 404 only where a request can be left over", () => {
  const line = "          a request that no route matches gets 404";
  const lines = (routes: readonly RouteOptions[]) => {
    const config = resolveConfig({ upstreams: ["a:80"], routes });
    return describeRoutes(config.routes, config);
  };
  assertEquals(lines([{ match: { path: "/x" } }]).includes(line), true);
  assertEquals(lines([{ match: { path: "/x" } }, {}]).includes(line), false);
  assertEquals(lines([{ match: { path: "/*" } }]).includes(line), false);
});

Deno.test("describeRoutes() names ready-made filters, and shows those of the configuration only there", () => {
  const config = resolveConfig({
    upstreams: ["a:80"],
    filters: [securityHeaders(), { logging() {} }],
    responseFilter() {},
    routes: [
      { name: "all", filters: [basicAuth({ users: { a: "b" } }), { requestFilter() {}, failToProxy() {} }] },
      { name: "none", match: { path: "/x" } },
    ],
  });
  const filters = describeConfig(config).split("\n").filter((line) => /^ *filters/.test(line));
  assertEquals(filters, [
    "  filters   basicAuth, requestFilter, failToProxy",
    "filters   responseFilter, securityHeaders, logging",
  ]);
});

Deno.test("describeRoutes() says what becomes of a path", () => {
  const words = (rewrite: NonNullable<RouteOptions["rewrite"]>) => {
    const config = resolveConfig({ upstreams: ["a:80"], routes: [{ rewrite }] });
    return describeRoutes(config.routes, config)[1];
  };
  assertEquals(words((target) => target), "  rewrite   by rewrite()");
  assertEquals(
    words({ stripPrefix: "/a", replace: [/x+/, "y"], prefix: "/b" }),
    '  rewrite   removes /a from the beginning of the path, replaces /x+/ by "y", puts /b in front',
  );
});
