import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ConfigError } from "../../lib/config/config_error.ts";
import { FilterError } from "../../lib/core/errors.ts";
import { simulate } from "../../lib/simulator/simulate.ts";

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

Deno.test("simulate() holds places for as long as requests run, and charges what they came to when they are over", () => {
  const concurrent = { upstreams, limiter: { key: "ip", limit: 1, algorithm: "concurrency" } } as const;
  const trace = [0, 50, 100, 101].map((atMs) => ({ atMs, durationMs: 100 }));
  assertEquals(simulate(concurrent, trace).refusals.map(({ atMs }) => atMs), [50, 101]);
  const result = simulate(
    { upstreams, limiter: { key: "ip", limit: 1000, window: "1m", charge: (ctx) => ctx.bytesSent } },
    [{ atMs: 0, bytes: 900 }, { atMs: 1, bytes: 200, durationMs: 10 }, { atMs: 5 }, { atMs: 12 }],
  );
  assertEquals(result.refusals.map(({ atMs }) => atMs), [12]);
});
