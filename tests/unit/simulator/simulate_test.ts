import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { FilterError } from "../../../lib/core/errors.ts";
import { simulate, type SimulateOptions } from "../../../lib/simulator/simulate.ts";

const upstreams = ["127.0.0.1:9001"];

Deno.test("simulate() says who was refused, when, and by which policy", () => {
  const result = simulate(
    { upstreams, limiter: { key: "header:appid", limit: 1, window: "1s" } },
    [0, 400, 999, 1000, 1500].flatMap((atMs) => [
      { atMs, headers: { appid: "a" } },
      { atMs, headers: { appid: `b${atMs}` } },
      { atMs },
    ]),
  );
  assertEquals(result, {
    requests: 15,
    admitted: 12,
    refused: 3,
    durationMs: 1500,
    byPolicy: { default: 3 },
    byKey: [{ policy: "default", key: "a", refused: 3, firstAtMs: 400, lastAtMs: 1500 }],
    refusals: [
      { atMs: 400, policy: "default", key: "a", retryAfterMs: 600 },
      { atMs: 999, policy: "default", key: "a", retryAfterMs: 1 },
      { atMs: 1500, policy: "default", key: "a", retryAfterMs: 500 },
    ],
    withoutKey: { default: 5 },
    unrouted: 0,
    notes: ["5 requests have no key for policy default (header:appid): not limited by it"],
  });
});

Deno.test("simulate() agrees with a naive fixed window (property)", () => {
  const request = fc.record({ after: fc.integer({ min: 0, max: 700 }), key: fc.constantFrom("a", "b", "c") });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 60 }), fc.integer({ min: 0, max: 4 }), (steps, limit) => {
      let atMs = 0;
      const trace = steps.map(({ after, key }) => ({ atMs: atMs += after, headers: { k: key } }));
      const windows = new Map<string, { end: number; count: number }>();
      const refused: number[] = [];
      for (const { atMs: now, headers: { k } } of trace) {
        const old = windows.get(k);
        const window = old !== undefined && now < old.end ? old : { end: now + 1000, count: 0 };
        if (window.count < limit) {
          window.count++;
          windows.set(k, window);
        } else refused.push(now);
      }
      const { refusals } = simulate({ upstreams, limiter: { key: "header:k", limit, window: "1s" } }, trace);
      assertEquals(refusals.map((refusal) => refusal.atMs), refused);
    }),
    { seed: 17, numRuns: 200 },
  );
});

Deno.test("simulate() gives functions of the configuration the request, the client and the state", () => {
  const seen: unknown[] = [];
  simulate({
    upstreams,
    newContext: (request) => request.headers.get("plan"),
    limiter: {
      key: (request, ctx) => `${request.method} ${ctx.target} ${ctx.host} ${ctx.client.ip}`,
      limit: (key, ctx) => {
        seen.push(key, ctx.state);
        return 1;
      },
      window: "1s",
    },
  }, [{
    atMs: 0,
    method: "POST",
    target: "/a//b?c",
    host: "h.example",
    ip: "2001:db8::1",
    headers: { plan: "gold" },
  }]);
  assertEquals(seen, ["POST /a//b?c h.example 2001:db8::1", "gold"]);
});

Deno.test("simulate() keeps so many refusals and counts the others", () => {
  const trace = Array.from({ length: 10 }, (_, atMs) => ({ atMs }));
  const result = simulate({ upstreams, limiter: { key: "ip", limit: 2, window: "1s" } }, trace, {
    maxRefusals: 3,
  });
  assertEquals([result.refused, result.refusals.length, result.byKey[0]?.refused], [8, 3, 8]);
});

Deno.test("simulate() admits everything without limits", () => {
  const { admitted, refused } = simulate({ upstreams }, [{ atMs: 0 }, { atMs: 1 }]);
  assertEquals([admitted, refused], [2, 0]);
});

Deno.test("simulate() fails with the configuration's own mistakes", () => {
  assertThrows(() => simulate({ upstreams: [] }, []), ConfigError);
  const limit = () => {
    throw new Error("no plan");
  };
  assertThrows(
    () => simulate({ upstreams, limiter: { key: "ip", limit, window: "1s" } }, [{ atMs: 0 }]),
    FilterError,
  );
});

Deno.test("simulate() holds permits for as long as requests run, and charges what they cost when they are over", () => {
  const concurrent = { upstreams, limiter: { key: "ip", limit: 1, algorithm: "concurrency" } } as const;
  const trace = [0, 50, 100, 101].map((atMs) => ({ atMs, durationMs: 100 }));
  assertEquals(simulate(concurrent, trace).refusals.map(({ atMs }) => atMs), [50, 101]);
  const result = simulate(
    { upstreams, limiter: { key: "ip", limit: 1000, window: "1m", charge: (ctx) => ctx.bytesSent } },
    [{ atMs: 0, bytes: 900 }, { atMs: 1, bytes: 200, durationMs: 10 }, { atMs: 5 }, { atMs: 12 }],
  );
  assertEquals(result.refusals.map(({ atMs }) => atMs), [12]);
});

const perSecond = (limit: number) => ({ key: "ip", limit, window: "1s" }) as const;

/** So many requests at once for each of these targets. */
function requestsTo(count: number, ...targets: string[]) {
  return targets.flatMap((target) =>
    Array.from({ length: count }, () => ({ atMs: 0, target, ip: "192.0.2.7" }))
  );
}

Deno.test("simulate() goes by the limits of the route that takes a request, and by none where it says so", () => {
  const config = {
    upstreams,
    limiter: { name: "all", ...perSecond(10) },
    routes: [
      { name: "health", match: { path: "/health" }, limiter: false as const },
      { name: "login", match: { path: "/login", method: "POST" }, limiter: perSecond(2) },
      {
        name: "api",
        match: { host: "*.example", path: "/api/*" },
        limiter: { name: "calls", ...perSecond(3) },
      },
      { match: { path: "/*" } },
    ],
  };
  const health = simulate(config, requestsTo(20, "/health"));
  assertEquals([health.refused, health.byPolicy], [0, { all: 0, login: 0, calls: 0 }]);
  const login = simulate(config, requestsTo(5, "/login").map((request) => ({ ...request, method: "POST" })));
  assertEquals([login.refused, login.byPolicy], [3, { all: 0, login: 3, calls: 0 }]);
  const api = simulate(config, requestsTo(5, "/api/a").map((request) => ({ ...request, host: "a.example" })));
  assertEquals([api.refused, api.byPolicy], [2, { all: 0, login: 0, calls: 2 }]);
  // What the policy of the configuration counts is the same for all routes.
  const mixed = simulate(config, requestsTo(6, "/a", "/b", "/login"));
  assertEquals([mixed.refused, mixed.byPolicy], [8, { all: 8, login: 0, calls: 0 }]);
});

Deno.test("simulate() finds routes as the proxy does: by the normal form of paths, and not what could be two", () => {
  const config = {
    upstreams,
    routes: [
      { name: "admin", match: { path: "/admin/*" }, limiter: perSecond(1) },
      { name: "rest", match: { path: "/*" } },
    ],
  };
  const written = requestsTo(2, "/./admin/x", "//admin/x", "/%61dmin/x", "/y/../admin/x");
  assertEquals(simulate(config, written).byPolicy, { admin: 7 });
  const unclear = simulate(config, requestsTo(3, "/admin%2fx"));
  assertEquals([unclear.refused, unclear.unrouted], [0, 3]);
});

Deno.test("simulate() gives functions of a route's limits its name and its state", () => {
  const seen: unknown[] = [];
  simulate({
    upstreams,
    newContext: () => ({ plan: "free" }),
    routes: [{
      name: "api",
      limiter: {
        key: (_, ctx) => {
          seen.push(ctx.route, ctx.state);
          return "k";
        },
        limit: 1,
        window: "1s",
      },
      filters: [{ newContext: () => ({ plan: "gold" }) }],
    }],
  }, [{ atMs: 0 }]);
  assertEquals(seen, ["api", { plan: "gold" }]);
});

Deno.test("simulate() says what the trace does not although it matters", () => {
  const table: [
    config: Parameters<typeof simulate>[0],
    requests: Parameters<typeof simulate>[1],
    notes: string[],
  ][] = [
    [{ upstreams, limiter: { key: "header:appid", limit: 1, window: "1s" } }, [{ atMs: 0 }, { atMs: 1 }], [
      "All requests have no key for policy default (header:appid): not limited by it",
    ]],
    [
      {
        upstreams,
        limiter: { key: ["cookie:a", "query:b"], limit: 1, window: "1s", onMissingKey: "reject" },
      },
      [{ atMs: 0, target: "/" }, { atMs: 1, target: "/?b=1" }],
      [
        "1 request has no key for policy default (cookie:a and query:b): refused by it",
      ],
    ],
    [{ upstreams, limiter: { key: () => null, limit: 1, window: "1s", onMissingKey: "ip" } }, [
      { atMs: 0, ip: "192.0.2.8" },
    ], ["All requests have no key for policy default (what a function returns): counted by address"]],
    [{ upstreams, limiter: perSecond(1) }, [{ atMs: 0 }, { atMs: 0, ip: "192.0.2.8" }], [
      '1 request has no "ip": counted as 192.0.2.1, as if by one client',
    ]],
    [{ upstreams, limiter: { key: "ip", limit: 1, algorithm: "concurrency" } }, [
      { atMs: 0, ip: "192.0.2.8" },
      { atMs: 0, ip: "192.0.2.8" },
    ], ['All requests have no "duration": over at once for policy default']],
    [{ upstreams, limiter: { ...perSecond(1), charge: (ctx) => ctx.bytesSent } }, [
      { atMs: 0, ip: "192.0.2.8" },
    ], ["No request has a duration, a status or bytes, by which policy default may charge"]],
    [
      { upstreams, routes: [{ name: "a", match: { host: "a.example", path: "/a" }, limiter: perSecond(1) }] },
      [
        { atMs: 0, ip: "192.0.2.8" },
      ],
      [
        'All requests have no "target": counted as /',
        'All requests have no "host": counted as localhost',
        "1 request is taken by no route (404)",
        "No request went to route a, whose limits were not tried",
      ],
    ],
    [
      { upstreams, limiter: { key: ["header:authorization", "query:token"], limit: 9, window: "1s" } },
      [
        { atMs: 0, target: "/?token=[redacted]", headers: { authorization: "[redacted]" } },
        { atMs: 1, target: "/?token=1", headers: { Authorization: "[redacted]" } },
      ],
      [
        "All requests have [redacted] in place of header:authorization: their keys are not known",
        "1 request has [redacted] in place of query:token: their keys are not known",
      ],
    ],
    [{ upstreams, limiter: { key: "header:appid", limit: 1, window: "1s" } }, [], []],
    [{ upstreams }, [{ atMs: 0 }], []],
  ];
  for (const [config, requests, notes] of table) assertEquals(simulate(config, requests).notes, notes);
});

Deno.test("simulate() says what is wrong with its options", () => {
  const config = { upstreams: ["a:80"], limiter: { key: "ip", limit: 1, window: "1s" } } as const;
  const { message } = assertThrows(
    () => simulate(config, [], { maxRefusals: -1, maxKeys: 2 ** 30, maxkeys: 1 } as SimulateOptions),
    TypeError,
  );
  assertEquals(
    message,
    'Cannot simulate: "maxRefusals" must be a whole number of at least 0, received -1; ' +
      '"maxKeys" must be a whole number from 1 to 16777216, received 1073741824; ' +
      '"maxkeys" is not a known key, did you mean "maxKeys"?',
  );
});
