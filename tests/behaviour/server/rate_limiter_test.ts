import { assert, assertEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { RateLimiter, type RateLimiterOptions, type ServeSource } from "../../../lib/server/rate_limiter.ts";
import { StrayErrors, StrayRejections } from "../../support/stray_errors.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { askAt } from "../../support/start_proxy.ts";

type Policies = LimiterPolicy<ServeSource> | LimiterPolicy<ServeSource>[];

/** A server behind a limiter, and a client of it. */
function serveLimited(policies: Policies, handler: Deno.ServeHandler, options: RateLimiterOptions = {}) {
  const clock = new FakeClock();
  const limiter = new RateLimiter(policies, { clock, random: seededRandom(1), ...options });
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen: () => {},
    onError: () => new Response(null, { status: 500 }),
  }, limiter.wrap(handler));
  const ask = async (target = "/", headers: Record<string, string> = {}) => {
    const response = await fetch(`http://127.0.0.1:${server.addr.port}${target}`, { headers });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const end = async () => {
    await server.shutdown();
    limiter[Symbol.dispose]();
  };
  return { clock, limiter, ask, [Symbol.asyncDispose]: end };
}

Deno.test("RateLimiter.wrap() limits a handler of Deno.serve, and tells clients what is left", async () => {
  let handled = 0;
  await using served = serveLimited({ key: "ip", limit: 2, window: "10s" }, () => {
    handled++;
    return new Response("hello", { headers: { "x-own": "1" } });
  });
  const { clock, ask } = served;
  const first = await ask();
  assertEquals([first.status, first.text, first.headers.get("x-own")], [200, "hello", "1"]);
  assertEquals(first.headers.get("ratelimit"), '"default";r=1;t=10');
  await ask();
  clock.tick(2500);
  const { status, headers, text } = await ask();
  assertEquals([status, headers.get("retry-after"), headers.get("cache-control")], [429, "8", "no-store"]);
  assertEquals(headers.get("content-type"), "application/problem+json");
  assertEquals(JSON.parse(text)["violated-policies"], ["default"]);
  assertEquals(handled, 2);
});

Deno.test("RateLimiter.wrap() leaves a response alone that there is nothing to tell with", async () => {
  await using served = serveLimited(
    { key: "header:user", limit: 2, window: "10s" },
    () => Response.json({ a: 1 }),
  );
  const { headers } = await served.ask();
  assertEquals([headers.get("ratelimit"), headers.get("content-type")], [null, "application/json"]);
});

Deno.test("RateLimiter.wrap() gives places back and charges once the answer has been sent, also when the handler throws", async () => {
  let over = Promise.withResolvers<void>();
  await using served = serveLimited([
    { key: "ip", limit: 1, algorithm: "concurrency", name: "places" },
    {
      key: "ip",
      limit: 3,
      window: "1h",
      name: "failures",
      charge: ({ status }) => {
        over.resolve();
        return status === 200 ? 0 : 1;
      },
    },
  ], ({ url }) => {
    if (url.endsWith("/throw")) throw new Error("boom");
    return new Response("hello");
  });
  const { limiter, ask } = served;
  const seen: number[] = [];
  for (const target of ["/", "/", "/", "/", "/throw", "/throw", "/"]) {
    over = Promise.withResolvers<void>();
    seen.push((await ask(target)).status);
    await over.promise;
  }
  assertEquals(seen, [200, 200, 200, 200, 500, 500, 200]);
  const left = limiter.peek(new Request("http://h/"), INFO).map(({ remaining }) => remaining);
  assertEquals(left, [1, 1]);
});

const INFO = { remoteAddr: { transport: "tcp", hostname: "127.0.0.1", port: 1 } } as const;

Deno.test("RateLimiter.wrap() answers with the response of a policy", async () => {
  await using served = serveLimited({
    key: "host",
    limit: 0,
    window: "1s",
    response: ({ policy }, { target }) => new Response(`${policy.name} ${target}`, { status: 503 }),
  }, () => new Response());
  const { status, text, headers } = await served.ask("/x?y");
  assertEquals([status, text, headers.get("cache-control")], [503, "default /x?y", "no-store"]);
});

Deno.test("RateLimiter.wrap() tells of a charge that throws", async () => {
  const told = Promise.withResolvers<unknown>();
  await using served = serveLimited(
    {
      key: "ip",
      limit: 2,
      window: "1h",
      charge: () => {
        throw new Error("boom");
      },
    },
    () => new Response(),
    { onChargeError: told.resolve },
  );
  assertEquals((await served.ask()).status, 200);
  assert(String(await told.promise).includes("boom"));
});

for (const how of ["throws", "rejects"]) {
  const fail = (): void | Promise<void> => {
    if (how === "throws") throw new Error("boom");
    return Promise.reject(new Error("boom"));
  };

  Deno.test(`RateLimiter goes on when onChargeError ${how}`, async () => {
    using rejections = new StrayRejections();
    using strays = new StrayErrors();
    await using served = serveLimited(
      { key: "ip", limit: 3, window: "1h", charge: () => NaN },
      () => new Response(),
      { onChargeError: fail },
    );
    for (const status of [200, 200, 200, 429]) assertEquals((await served.ask()).status, status);
    assertEquals([new Set(strays.lines), rejections.reasons], [new Set(["onChargeError threw: boom"]), []]);
  });

  Deno.test(`RateLimiter goes on when onOverflow ${how}`, async () => {
    using rejections = new StrayRejections();
    using strays = new StrayErrors();
    using limiter = new RateLimiter({ key: "header:user", limit: 1, window: "1h", maxKeys: 1 }, {
      onOverflow: fail,
    });
    const ask = (user: string) => limiter.check(new Request("http://h/", { headers: { user } })).kind;
    const kinds = new Set(Array.from({ length: 1000 }, (_, i) => ask(`user ${i}`)));
    // An unheard rejection is told of in a later turn.
    await new Promise((resolve) => setTimeout(resolve, 0));
    assertEquals(kinds.has("allowed"), true);
    assertEquals([strays.lines, rejections.reasons], [["onOverflow threw: boom"], []]);
  });
}

Deno.test("RateLimiter.check(), peek(), reset() and ban() work without a server", () => {
  using limiter = new RateLimiter({ key: "header:user", limit: 1, window: "1h" });
  const request = new Request("http://h/", { headers: { user: "ada" } });
  assertEquals([limiter.check(request).kind, limiter.check(request).kind], ["allowed", "limited"]);
  assertEquals(limiter.peek(request)[0]!.remaining, 0);
  limiter.reset("ada");
  assertEquals(limiter.peek(request)[0]!.remaining, 1);
  assertEquals(limiter.ban("ada", "10m"), true);
  const banned = limiter.check(request);
  assert(banned.kind === "limited");
  assertEquals([banned.reason, limiter.refusal(banned).status], ["banned", 429]);
  assertThrows(() => limiter.ban("ada", "soon"), TypeError, "a duration such as");
  assertEquals(limiter.policies.map(({ name }) => name), ["default"]);
});

Deno.test("RateLimiter.check() counts the cost where wrap() would call charge", () => {
  using limiter = new RateLimiter({
    key: "header:user",
    limit: 2,
    window: "1h",
    charge: () => {
      throw new Error("it is not called");
    },
  });
  const request = new Request("http://localhost/", { headers: { user: "ada" } });
  const kinds = [1, 2, 3].map(() => limiter.check(request).kind);
  assertEquals(kinds, ["allowed", "allowed", "limited"]);
});

Deno.test("new RateLimiter() says everything that is wrong with a policy", () => {
  assertThrows(
    () => new RateLimiter({ key: "apid" as "ip", limit: -1, window: "1s" }),
    TypeError,
    `"limit" must be a whole number from 0 to 1000000000, or a function, received -1`,
  );
});

Deno.test("RateLimiter counts a field once, whatever empty lines come with it", async () => {
  const limiter = new RateLimiter({ key: "header:appid", limit: 1, window: "1h" });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    limiter.wrap(() => new Response("hello")),
  );
  const statuses: number[] = [];
  for (const lines of [["appid: me"], ["appid:", "appid: me"], ["appid: me", "appid:", "appid:"]]) {
    statuses.push((await askAt(server.addr.port, "GET /", [...lines, "Connection: close"])).status);
  }
  assertEquals(statuses, [200, 429, 429]);
  await server.shutdown();
  limiter[Symbol.dispose]();
});
