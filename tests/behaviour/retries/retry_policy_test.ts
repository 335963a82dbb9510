/** `retries` of a pool and of a route: what is sent again, where to, how often and when. */

import { assert, assertEquals } from "@std/assert";
import type { RetryFailure } from "../../../lib/config/retry_options.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream, type Upstream } from "../../support/start_upstream.ts";

const FIRST = { balance: "first", ejection: false } as const;

/** A server that reads the content, and always responds with the status. */
function respondsWith(status: number, headers: Record<string, string> = {}): Upstream {
  return startUpstream({
    handler: async (request) => {
      await request.arrayBuffer();
      return new Response(`status ${status}`, { status, headers });
    },
  });
}

eachTransport(
  "retries.on: a status sends the request elsewhere, and the response is dropped",
  async (start) => {
    await using bad = respondsWith(503);
    await using good = startUpstream("good");
    await using proxy = await start({
      upstreams: { servers: [bad.address, good.address], ...FIRST, retries: { on: [503] } },
    });
    const { status, text } = await proxy.ask();
    assertEquals([status, text], [200, "good"]);
    assertEquals([(await proxy.ask("POST /", ["Content-Length: 1"], "x")).status, bad.requests], [503, 2]);
    const [entry] = proxy.seen.entries;
    assertEquals([entry!.attempts, entry!.status], [2, 200]);
  },
);

eachTransport(
  "retries: the last response with a status is given when no other server is left",
  async (start) => {
    await using one = respondsWith(503, { "x-server": "one" });
    await using two = respondsWith(502, { "x-server": "two" });
    await using proxy = await start({
      upstreams: { servers: [one.address, two.address], ...FIRST, retries: { on: [502, 503], attempts: 1 } },
    });
    const answer = await proxy.ask();
    assertEquals([answer.status, answer.field("x-server"), one.requests, two.requests], [502, "two", 1, 1]);
  },
);

eachTransport("retries: by default statuses are given as they are", async (start) => {
  await using bad = respondsWith(503);
  await using good = startUpstream("good");
  await using proxy = await start({ upstreams: { servers: [bad.address, good.address], ...FIRST } });
  assertEquals([(await proxy.ask()).status, good.requests], [503, 0]);
});

eachTransport("retries.attempts: the same server is asked again where there is no other", async (start) => {
  let asked = 0;
  await using only = startUpstream({
    handler: () => ++asked < 3 ? new Response("not yet", { status: 503 }) : new Response("now"),
  });
  await using proxy = await start({
    upstreams: { servers: [only.address], ejection: false, retries: { attempts: 2, on: [503] } },
  });
  assertEquals([(await proxy.ask()).text, asked], ["now", 3]);
});

Deno.test("retries: false sends nothing again, not even after a failed connect", async () => {
  await using good = startUpstream("good");
  await using proxy = await startProxy({
    upstreams: { servers: [`127.0.0.1:${deadPort()}`, good.address], ...FIRST, retries: false },
  });
  assertEquals([(await proxy.ask()).status, good.requests], [502, 0]);
});

Deno.test("retries of a route hold in the place of the pool's", async () => {
  await using good = startUpstream("good");
  await using proxy = await startProxy({
    upstreams: { servers: [`127.0.0.1:${deadPort()}`, good.address], ...FIRST },
    routes: [{ match: { path: "/once" }, retries: false }, {}],
  });
  assertEquals((await proxy.ask("GET /once")).status, 502);
  assertEquals((await proxy.ask("GET /")).status, 200);
});

eachTransport("retries: a function decides, and is told how often and why", async (start) => {
  await using bad = respondsWith(500);
  await using good = startUpstream("good");
  const seen: [number, string, number | null, string][] = [];
  await using proxy = await start({
    upstreams: {
      servers: [`127.0.0.1:${deadPort()}`, bad.address, good.address],
      ...FIRST,
      retries: (attempt: number, { reason, status }: RetryFailure, ctx) => {
        seen.push([attempt, reason, status, ctx.request.method]);
        return ctx.request.method === "POST" || reason === "connect";
      },
    },
  });
  assertEquals((await proxy.ask("POST /", ["Content-Length: 1"], "x")).text, "good");
  assertEquals((await proxy.ask()).status, 500);
  const once = (method: string) => [[1, "connect", null, method], [2, "status", 500, method]];
  assertEquals(seen, [...once("POST"), ...once("GET")] as typeof seen);
});

Deno.test("retries: after an attempt that ran out of time there is one more at most", async () => {
  const waiting: (() => void)[] = [];
  const hang = () => new Promise<Response>((resolve) => waiting.push(() => resolve(new Response())));
  await using a = startUpstream({ handler: hang });
  await using b = startUpstream({ handler: hang });
  await using c = startUpstream({ handler: hang });
  await using proxy = await startProxy({
    upstreams: { servers: [a.address, b.address, c.address], ...FIRST, timeouts: { response: "50ms" } },
  });
  assertEquals((await proxy.ask()).status, 504);
  assertEquals([a.requests, b.requests, c.requests], [1, 1, 0]);
  for (const end of waiting) end();
});

Deno.test("retries.budget: no more than so many are made, and failed connects are free", async () => {
  await using bad = respondsWith(503);
  await using good = startUpstream("good");
  const pool = { servers: [bad.address, good.address], ...FIRST };
  const dead = { servers: [`127.0.0.1:${deadPort()}`, good.address], ...FIRST };
  const retries = { on: ["connect", 503], budget: { percent: 0, min: 0.5 } } as const;
  await using proxy = await startProxy({
    upstreams: { pool: { ...pool, retries }, dead: { ...dead, retries } },
    routes: [{ match: { path: "/dead" }, upstream: "dead" }, { upstream: "pool" }],
  });
  const statuses = [];
  for (let i = 0; i < 7; i++) statuses.push((await proxy.ask()).status);
  assertEquals(statuses, [200, 200, 200, 200, 200, 503, 503]);
  for (let i = 0; i < 7; i++) assertEquals((await proxy.ask("GET /dead")).status, 200);
});

Deno.test("retries: a client that leaves while a retry waits is not waited for", async () => {
  await using bad = respondsWith(503);
  const retries = { attempts: 3, on: [503], backoff: { base: "1h", max: "1h" }, budget: false } as const;
  const decided = Promise.withResolvers<void>();
  await using proxy = await startProxy({
    upstreams: { servers: [bad.address], ejection: false, timeouts: { response: "2h" }, retries },
    upstreamRequestFilter: () => decided.resolve(),
  });
  const client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await decided.promise;
  client.close();
  const { status, attempts } = await proxy.seen.untilEntries(1);
  assertEquals([status, attempts <= 2], [499, true]);
});

Deno.test("retries: a server that asks for time is asked again after that, and not when it is too long", async () => {
  let asked = 0;
  await using only = startUpstream({
    handler: () => {
      asked++;
      const headers = { "retry-after": asked === 1 ? "1" : "3600" };
      return asked === 2 ? new Response("now") : new Response("later", { status: 503, headers });
    },
  });
  await using proxy = await startProxy({
    upstreams: { servers: [only.address], ejection: false, retries: { attempts: 2, on: [503] } },
  });
  const begun = performance.now();
  assertEquals((await proxy.ask()).text, "now");
  assert(performance.now() - begun >= 1000);
  asked = 2;
  assertEquals([(await proxy.ask()).text, asked], ["later", 3]);
});

Deno.test("retries.bodyLimit: how much content is kept to be sent again", async () => {
  await using bad = respondsWith(503);
  await using good = startUpstream("good");
  const pool = { servers: [bad.address, good.address], ...FIRST };
  await using proxy = await startProxy({
    upstreams: {
      little: { ...pool, retries: { on: [503], bodyLimit: "1KiB" } },
      much: { ...pool, retries: { on: [503], bodyLimit: "1MiB" } },
    },
    routes: [{ match: { path: "/much" }, upstream: "much" }, { upstream: "little" }],
  });
  const put = async (path: string) =>
    (await proxy.ask(`PUT ${path}`, ["Content-Length: 300000"], "x".repeat(300_000))).status;
  assertEquals([await put("/little"), await put("/much")], [503, 200]);
});

Deno.test("retries.idempotencyKey: what may be sent again", async () => {
  await using bad = respondsWith(503);
  await using good = startUpstream("good");
  const retries = { on: [503], idempotencyKey: true } as const;
  await using proxy = await startProxy({
    upstreams: { servers: [bad.address, good.address], ...FIRST, retries },
  });
  const post = async (lines: string[], bytes: number) => {
    const { status } = await proxy.ask("POST /", [...lines, `Content-Length: ${bytes}`], "x".repeat(bytes));
    return status;
  };
  assertEquals(await post([], 10), 503);
  assertEquals(await post(["Idempotency-Key: 1"], 10), 200);
});
