import { assertEquals, assertStringIncludes } from "@std/assert";
import type { RequestContext } from "../../../lib/filter/request_context.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { rawClient } from "../../support/raw_client.ts";
import { fieldOf } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

type Policy = LimiterPolicy<RequestContext<unknown>>;

const BY_APP = { key: "header:appid", window: "1m" } as const;

/** Asks so many times and takes the statuses. */
async function statuses(proxy: TestProxy, count: number, target = "/", appid = "a"): Promise<number[]> {
  const seen: number[] = [];
  for (let n = 0; n < count; n++) seen.push((await proxy.ask(`GET ${target}`, [`appid: ${appid}`])).status);
  return seen;
}

/** The statuses of requests that come at these moments, one after the other. */
async function statusesAt(policy: Policy | Policy[], moments: readonly number[]): Promise<number[]> {
  const clock = new FakeClock();
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter: policy }, { clock });
  const seen: number[] = [];
  let now = 0;
  for (const moment of moments) {
    clock.tick(moment - now);
    now = moment;
    seen.push(...await statuses(proxy, 1));
  }
  return seen;
}

Deno.test("limiter.algorithm decides what a client gets at the edge of a window", async () => {
  const policy = { ...BY_APP, limit: 2, window: "1s" } as const;
  const edge = [0, 990, 1000, 1010, 1020];
  assertEquals(await statusesAt(policy, edge), [200, 200, 200, 200, 429]);
  assertEquals(await statusesAt({ ...policy, algorithm: "sliding-window" }, edge), [200, 200, 429, 429, 429]);
  assertEquals(await statusesAt({ ...policy, algorithm: "token-bucket" }, edge), [200, 200, 200, 429, 429]);
});

Deno.test("limiter.burst lets a token bucket give more at once, and never more than the rate after it", async () => {
  const policy = { ...BY_APP, limit: 5, window: "1s", algorithm: "token-bucket", burst: 3 } as const;
  assertEquals(await statusesAt(policy, [0, 0, 0, 0, 199, 200, 200, 400, 599]), [
    ...[200, 200, 200, 429, 429],
    ...[200, 429, 200, 429],
  ]);
  const byKey = { ...policy, burst: (key: string) => key === "a" ? 1 : 9 };
  assertEquals(await statusesAt(byKey, [0, 0, 200]), [200, 429, 200]);
});

Deno.test("limiter with tiers charges none for what another one refuses, and tells filters of each", async () => {
  const clock = new FakeClock();
  const logged: string[][] = [];
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: [
      { ...BY_APP, name: "second", limit: 1, window: "1s" },
      { ...BY_APP, name: "minute", limit: 3 },
    ],
    logging: ({ limits }) =>
      void logged.push(
        limits.map(({ policy, key, outcome, remaining }) => `${policy.name} ${key} ${outcome} ${remaining}`),
      ),
  }, { clock });
  assertEquals(await statuses(proxy, 6), [200, 429, 429, 429, 429, 429]);
  for (const expected of [200, 200, 429]) {
    clock.tick(1000);
    assertEquals(await statuses(proxy, 1), [expected]);
  }
  assertEquals(upstream.requests, 3);
  assertEquals(logged[0], ["second a allowed 0", "minute a allowed 2"]);
  assertEquals(logged[1], ["second a refused 0", "minute a allowed 2"]);
  assertEquals(logged.at(-1), ["second a allowed 1", "minute a refused 0"]);
});

Deno.test("limiter.cost counts as a number or as a function of the request says", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { ...BY_APP, limit: 10, cost: ({ target }) => target === "/report" ? 5 : 1 },
  }, { clock: new FakeClock() });
  assertEquals(await statuses(proxy, 1, "/report"), [200]);
  assertEquals(await statuses(proxy, 1), [200]);
  assertEquals(await statuses(proxy, 1, "/report"), [429]);
  assertEquals(await statuses(proxy, 5), [200, 200, 200, 200, 429]);
});

eachTransport("limiter.charge counts bytes once they have been sent", async (start) => {
  await using upstream = startUpstream({ handler: () => new Response(new Uint8Array(300_000)) });
  const logged: (number | undefined)[] = [];
  await using proxy = await start({
    upstreams: [upstream.address],
    limiter: { ...BY_APP, limit: 500_000, charge: ({ bytesSent }) => bytesSent },
    logging: ({ limits }) => void logged.push(limits[0]?.remaining),
  });
  const seen: number[] = [];
  for (let n = 1; n <= 3; n++) {
    seen.push(...await statuses(proxy, 1));
    await proxy.seen.untilEntries(n);
  }
  assertEquals(seen, [200, 200, 429]);
});

Deno.test("limiter.charge counts by status: failed logins only, those that run included", async () => {
  await using upstream = startUpstream({
    handler: ({ url }) => new Response(null, { status: url.endsWith("/bad") ? 401 : 204 }),
  });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { ...BY_APP, limit: 2, charge: ({ status }) => status === 401 ? 1 : 0 },
  }, { clock: new FakeClock() });
  assertEquals(await statuses(proxy, 5, "/good"), [204, 204, 204, 204, 204]);
  assertEquals(await statuses(proxy, 1, "/bad"), [401]);
  assertEquals(await statuses(proxy, 3, "/good"), [204, 204, 204]);
  assertEquals(await statuses(proxy, 2, "/bad"), [401, 429]);
  assertEquals(await statuses(proxy, 1, "/good"), [429]);
});

eachTransport("limiter.charge counts nothing for a request that never reached a server", async (start) => {
  let charged = 0;
  await using proxy = await start({
    upstreams: [`127.0.0.1:${deadPort()}`],
    limiter: { ...BY_APP, limit: 1, charge: () => ++charged },
  });
  assertEquals((await statuses(proxy, 3)).includes(429), false);
  assertEquals(charged, 0);
});

Deno.test("limiter.charge counts a request that a server broke off", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
  });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { ...BY_APP, limit: 1, charge: () => 1 },
  }, { clock: new FakeClock() });
  const answers = [
    await proxy.ask("POST /", ["appid: a", "Content-Length: 1"], "x"),
    await proxy.ask("POST /", ["appid: a", "Content-Length: 1"], "x"),
  ];
  assertEquals(answers.map(({ status }) => status), [502, 429]);
});

Deno.test("limiter.charge that throws counts the cost, and is reported", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: {
      ...BY_APP,
      limit: 2,
      charge: () => {
        throw new Error("boom");
      },
    },
  }, { clock: new FakeClock() });
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  const [first] = proxy.seen.events.filter(({ kind }) => kind === "callback_error");
  assertStringIncludes(JSON.stringify(first), "boom");
});

Deno.test("limiter.exempt lets networks and chosen requests pass", async () => {
  await using upstream = startUpstream();
  const policy: Policy = { ...BY_APP, limit: 0 };
  for (
    const [exempt, expected] of [
      [["127.0.0.0/8"], 200],
      [["10.0.0.0/8", "127.0.0.1"], 200],
      [["10.0.0.0/8", "::/0"], 429],
      [({ target }: RequestContext) => target === "/", 200],
      [({ target }: RequestContext) => target === "/health", 429],
    ] as const
  ) {
    await using proxy = await startProxy({ upstreams: [upstream.address], limiter: { ...policy, exempt } });
    assertEquals(await statuses(proxy, 1), [expected], String(exempt));
  }
});

Deno.test("limiter.onMissingKey skips, refuses, or counts by address", async () => {
  await using upstream = startUpstream();
  for (
    const [onMissingKey, expected] of [["skip", [200, 200]], ["reject", [429, 429]], ["ip", [
      200,
      429,
    ]]] as const
  ) {
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      limiter: { ...BY_APP, limit: 1, onMissingKey },
    }, { clock: new FakeClock() });
    const answers = [await proxy.ask(), await proxy.ask()];
    assertEquals(answers.map(({ status }) => status), [...expected]);
    if (onMissingKey === "reject") assertEquals(answers[0]!.field("retry-after"), undefined);
  }
});

Deno.test("limiter.dryRun refuses nobody, and tells filters whom it would have", async () => {
  const outcomes: (string | undefined)[] = [];
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { ...BY_APP, limit: 1, dryRun: true },
    responseFilter: (response, { limits }) => {
      response.headers.set("x-outcome", String(limits[0]?.outcome));
    },
    logging: ({ limits }) => void outcomes.push(limits[0]?.outcome),
  }, { clock: new FakeClock() });
  const answers = [await proxy.ask("GET /", ["appid: a"]), await proxy.ask("GET /", ["appid: a"])];
  assertEquals(answers.map(({ status }) => status), [200, 200]);
  assertEquals(answers.map((answer) => answer.field("x-outcome")), ["allowed", "would-refuse"]);
  assertEquals(answers.map((answer) => answer.field("ratelimit")), [undefined, undefined]);
  assertEquals(outcomes, ["allowed", "would-refuse"]);
});

Deno.test("limiter.dryRun is told of in the access log, beside what really refused the request", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: [
      { ...BY_APP, name: "tried", limit: 1, dryRun: true },
      { ...BY_APP, name: "tried harder", limit: 0, dryRun: true },
      { ...BY_APP, name: "real", limit: 2 },
    ],
  }, { clock: new FakeClock() });
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  await proxy.ask();
  await proxy.seen.untilEntries(4);
  assertEquals(proxy.seen.entries.map(({ limitedBy, wouldLimit }) => [limitedBy, wouldLimit]), [
    [null, ["tried harder"]],
    [null, ["tried", "tried harder"]],
    ["real", ["tried", "tried harder"]],
    [null, []],
  ]);
});

Deno.test("limiter.penalize keeps those out who do not slow down", async () => {
  const policy = { ...BY_APP, limit: 1, window: "1s", algorithm: "token-bucket" } as const;
  const moments = [0, 500, 1100, 1600];
  assertEquals(await statusesAt(policy, moments), [200, 429, 200, 429]);
  assertEquals(await statusesAt({ ...policy, penalize: true }, moments), [200, 429, 429, 429]);
});

Deno.test("limiter.keepAlive leaves the connection of a refused client open", async () => {
  const seen: unknown[] = [];
  for (const keepAlive of [true, false]) {
    await using upstream = startUpstream();
    const limiter = { ...BY_APP, limit: 1, keepAlive };
    await using proxy = await startProxy({ upstreams: [upstream.address], limiter });
    using client = await rawClient(proxy.port);
    for (let n = 0; n < 2; n++) {
      await client.write("GET / HTTP/1.1\r\nhost: h\r\nappid: a\r\n\r\n");
      const { startLine, fields } = await client.readResponse();
      seen.push([keepAlive, startLine, fieldOf(fields, "connection")]);
    }
  }
  assertEquals(seen, [
    [true, "HTTP/1.1 200 OK", undefined],
    [true, "HTTP/1.1 429 Too Many Requests", undefined],
    [false, "HTTP/1.1 200 OK", undefined],
    [false, "HTTP/1.1 429 Too Many Requests", "close"],
  ]);
});

Deno.test("limiter.headers chooses what clients are told", async () => {
  await using upstream = startUpstream();
  const table: [Policy["headers"], string[], string[]][] = [
    [undefined, ["ratelimit", "ratelimit-policy"], [
      "ratelimit",
      "ratelimit-policy",
      "retry-after",
      "x-rate-limit-limit",
      "x-rate-limit-remaining",
      "x-rate-limit-reset",
    ]],
    [false, [], ["retry-after"]],
    [["draft-7"], ["ratelimit", "ratelimit-policy"], ["ratelimit", "ratelimit-policy", "retry-after"]],
    [
      ["draft-6"],
      ["ratelimit-limit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset"],
      ["ratelimit-limit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset", "retry-after"],
    ],
    [
      ["x-ratelimit"],
      ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
      ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    ],
  ];
  for (const [headers, admitted, refused] of table) {
    const policy: Policy = { ...BY_APP, limit: 1, ...(headers === undefined ? {} : { headers }) };
    await using proxy = await startProxy({ upstreams: [upstream.address], limiter: policy }, {
      clock: new FakeClock(),
    });
    for (const expected of [admitted, refused]) {
      const { fields } = await proxy.ask("GET /", ["appid: a"]);
      const told = fields.map(([name]) => name.toLowerCase()).filter((name) => /limit|retry/.test(name));
      assertEquals(told.sort(), expected);
    }
  }
});

Deno.test("limiter.headers keep the server's own fields and loosen none", async () => {
  await using upstream = startUpstream({
    handler: () =>
      new Response(null, {
        headers: {
          "ratelimit": '"api";r=3;t=9',
          "ratelimit-policy": '"api";q=4;w=10',
          "x-ratelimit-remaining": "0",
          "x-ratelimit-limit": "4",
          "x-ratelimit-reset": "9",
        },
      }),
  });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { ...BY_APP, name: 'my "own"', limit: 5, headers: ["draft-11", "x-ratelimit"] },
  }, { clock: new FakeClock() });
  const { fields } = await proxy.ask("GET /", ["appid: a"]);
  const told = fields.filter(([name]) => /limit/i.test(name)).map(([name, value]) =>
    `${name.toLowerCase()}: ${value}`
  );
  assertEquals(told.sort(), [
    'ratelimit-policy: "api";q=4;w=10',
    'ratelimit-policy: "my \\"own\\"";q=5;w=60',
    'ratelimit: "api";r=3;t=9',
    'ratelimit: "my \\"own\\"";r=4;t=60',
    "x-ratelimit-limit: 4",
    "x-ratelimit-remaining: 0",
    "x-ratelimit-reset: 9",
  ]);
});

Deno.test("limiter.response answers in place of the problem document, with the fields it lacks", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: {
      ...BY_APP,
      limit: 1,
      response: async ({ policy, violated }, { target }) => {
        await null;
        return new Response(`${policy.name} ${violated} ${target}`, {
          status: 503,
          headers: { "retry-after": "7" },
        });
      },
    },
  }, { clock: new FakeClock() });
  assertEquals(await statuses(proxy, 1), [200]);
  const answer = await proxy.ask("GET /x", ["appid: a"]);
  assertEquals([answer.status, answer.text], [503, "default default /x"]);
  assertEquals(answer.fields.filter(([name]) => /^retry-after$/i.test(name)).map(([, value]) => value), [
    "7",
  ]);
  assertEquals(answer.field("cache-control"), "no-store");
  assertEquals(answer.field("x-rate-limit-remaining"), "0");
  const entry = await proxy.seen.untilEntries(2);
  assertEquals([entry.status, entry.limitedBy], [503, "default"]);
  assertEquals(upstream.requests, 1);
});

Deno.test("limiter.response that fails gives a 500 that tells nothing", async () => {
  await using upstream = startUpstream();
  const bad = [
    () => {
      throw new Error("secret");
    },
    () => Promise.reject(new Error("secret")),
    () => undefined as unknown as Response,
  ];
  for (const response of bad) {
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      limiter: { ...BY_APP, limit: 0, response },
    });
    const answer = await proxy.ask("GET /", ["appid: a"]);
    assertEquals([answer.status, answer.text.includes("secret")], [500, false]);
  }
});

/** An upstream that holds every request until it is told to answer. */
function holdingUpstream() {
  const arrived: PromiseWithResolvers<void>[] = [];
  const held: PromiseWithResolvers<Response>[] = [];
  const upstream = startUpstream({
    handler: () => {
      const answer = Promise.withResolvers<Response>();
      held.push(answer);
      arrived.shift()?.resolve();
      return answer.promise;
    },
  });
  const untilArrived = (): Promise<void> => {
    const arrival = Promise.withResolvers<void>();
    arrived.push(arrival);
    return arrival.promise;
  };
  return { upstream, held, untilArrived };
}

const PLACES: Policy = { key: "header:appid", limit: 1, algorithm: "concurrency" };

eachTransport(
  "limiter by concurrency gives a place back once, after success and after a failure",
  async (start) => {
    const { upstream, held, untilArrived } = holdingUpstream();
    await using _ = upstream;
    await using proxy = await start({ upstreams: [upstream.address], limiter: PLACES });
    for (const status of [200, 500, 204]) {
      const arrived = untilArrived();
      const running = proxy.ask("GET /", ["appid: a"]);
      await arrived;
      assertEquals(await statuses(proxy, 2), [429, 429]);
      held.pop()!.resolve(new Response(null, { status }));
      assertEquals((await running).status, status);
    }
  },
);

eachTransport("limiter by concurrency gives a place back when no server can be reached", async (start) => {
  await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`], limiter: PLACES });
  assertEquals((await statuses(proxy, 3)).includes(429), false);
});

eachTransport("limiter by concurrency gives a place back when the client goes away", async (start) => {
  const { upstream, held, untilArrived } = holdingUpstream();
  await using _ = upstream;
  await using proxy = await start({ upstreams: [upstream.address], limiter: PLACES });
  for (let n = 1; n <= 2; n++) {
    const arrived = untilArrived();
    const client = await proxy.connect();
    await client.write("GET / HTTP/1.1\r\nHost: h\r\nappid: a\r\n\r\n");
    await arrived;
    client[Symbol.dispose]();
    const entry = await proxy.seen.untilEntries(n);
    assertEquals(entry.status, 499);
    held.pop()!.resolve(new Response());
  }
  const arrived = untilArrived();
  const running = proxy.ask("GET /", ["appid: a"]);
  await arrived;
  assertEquals(await statuses(proxy, 1), [429]);
  held.pop()!.resolve(new Response());
  assertEquals((await running).status, 200);
});

eachTransport("limiter by concurrency holds a place until the last byte of the answer", async (start) => {
  const content = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: () =>
      new Response(
        new ReadableStream({
          async pull(controller) {
            controller.enqueue(new Uint8Array(10));
            await content.promise;
            controller.close();
          },
        }, { highWaterMark: 0 }),
      ),
  });
  await using proxy = await start({ upstreams: [upstream.address], limiter: PLACES });
  const streaming = await proxy.fetch("/", { headers: { appid: "a" } });
  assertEquals(await statuses(proxy, 1), [429]);
  content.resolve();
  assertEquals((await streaming.bytes()).length, 10);
  await proxy.seen.untilEntries(2);
  assertEquals(await statuses(proxy, 1), [200]);
});

Deno.test("limiter by concurrency gives a place back when a filter answers or throws", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: PLACES,
    requestFilter: (_, { target }) => {
      if (target === "/throw") throw new Error("boom");
      return new Response("mine");
    },
  });
  assertEquals(await statuses(proxy, 3), [200, 200, 200]);
  assertEquals(await statuses(proxy, 3, "/throw"), [500, 500, 500]);
});

Deno.test("ProxyServer.limiter bans and resets keys while the proxy runs", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: [{ ...BY_APP, limit: 2 }, { ...BY_APP, name: "day", limit: 9, window: "24h" }],
  }, { clock: new FakeClock() });
  const limiter = proxy.server.limiter!;
  assertEquals(limiter.policies.map(({ name }) => name), ["default", "day"]);
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  const status = limiter.statusOf("a").map(({ policy, remaining }) => [policy.name, remaining]);
  assertEquals(status, [["default", 0], ["day", 7]]);
  assertEquals(limiter.statusOf("nobody", "day")[0]!.remaining, 9);
  limiter.reset("a", "default");
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  limiter.ban("b", "10m");
  const banned = await proxy.ask("GET /", ["appid: b"]);
  assertEquals([banned.status, banned.field("retry-after")], [429, "600"]);
  limiter.reset("b");
  assertEquals(await statuses(proxy, 1, "/", "b"), [200]);
  await using free = await startProxy({ upstreams: [upstream.address] });
  assertEquals(free.server.limiter, null);
});

Deno.test("ProxyServer.limiter bans and resets a client by any address of its network", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    trustedProxies: ["loopback"],
    limiter: { key: "ip", limit: 2, window: "1m" },
  }, { clock: new FakeClock() });
  const limiter = proxy.server.limiter!;
  const ask = async (client: string) => (await proxy.ask("GET /", [`X-Forwarded-For: ${client}`])).status;
  for (
    const [client, named] of [["2001:db8::1", "2001:DB8:0::2"], ["192.0.2.1", "::ffff:192.0.2.1"]] as const
  ) {
    assertEquals([await ask(client), await ask(client), await ask(client)], [200, 200, 429]);
    assertEquals(limiter.statusOf(named)[0]!.remaining, 0);
    limiter.reset(named);
    assertEquals(await ask(client), 200);
    limiter.ban(named, "10m");
    assertEquals(await ask(client), 429);
    limiter.reset(named);
    assertEquals(await ask(client), 200);
  }
});
