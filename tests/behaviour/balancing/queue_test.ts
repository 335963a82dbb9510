import { assertEquals } from "@std/assert";
import type { PoolOptions } from "../../../lib/config/pool_options.ts";
import { answers } from "../../support/answers.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { Gate } from "../../support/gate.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** Knows how many requests have arrived; those without content are in the queue when it says so. */
class Arrivals {
  #count = 0;
  #wanted = 0;
  #resolve = () => {};

  readonly newContext = (): void => {
    if (++this.#count >= this.#wanted) queueMicrotask(this.#resolve);
  };

  async until(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    [this.#wanted, this.#resolve] = [count, resolve];
    if (this.#count >= count) queueMicrotask(resolve);
    await promise;
  }
}

const poolOf = (gate: Gate, maxInFlight: number): PoolOptions => ({
  servers: [{ address: gate.upstream.address, maxInFlight }],
});

eachTransport("proxy refuses with 503 and Retry-After what a full server cannot take", async (start) => {
  await using gate = new Gate();
  await using proxy = await start({ upstreams: poolOf(gate, 1) });
  const running = proxy.ask();
  await gate.untilWaiting(1);
  const refused = await proxy.ask();
  assertEquals([refused.status, refused.field("retry-after")], [503, "1"]);
  assertEquals(refused.field("proxy-status"), "lbproxy; error=destination_unavailable");
  gate.answer();
  assertEquals((await running).status, 200);
});

eachTransport("proxy goes to another server when one is full", async (start) => {
  await using gate = new Gate();
  await using b = startUpstream("b");
  await using proxy = await start({
    upstreams: { servers: [{ address: gate.upstream.address, maxInFlight: 1 }, b.address], balance: "first" },
  });
  const running = proxy.ask();
  await gate.untilWaiting(1);
  assertEquals(await answers(proxy, 3), "bbb");
  gate.answer("a");
  assertEquals((await running).text, "a");
});

for (const limit of ["server", "pool"] as const) {
  eachTransport(`proxy lets requests wait for room at a full ${limit}, in their order`, async (start) => {
    await using gate = new Gate();
    const pool = limit === "server"
      ? poolOf(gate, 1)
      : { servers: [gate.upstream.address], maxInFlight: 1 } as const;
    const arrivals = new Arrivals();
    const { newContext } = arrivals;
    await using proxy = await start({
      upstreams: { ...pool, queue: { size: 3, timeout: "30s" } },
      newContext,
    });
    const [server] = proxy.server.pools.get("default")!.servers;
    const first = proxy.ask();
    await gate.untilWaiting(1);
    const later: Promise<number>[] = [];
    for (const number of [1, 2, 3]) {
      later.push(proxy.ask(`GET /${number}`).then(({ status }) => status));
      await arrivals.until(1 + number);
    }
    const refused = await proxy.ask();
    assertEquals([refused.status, refused.field("retry-after")], [503, "1"]);
    for (let i = 0; i < 4; i++) {
      await gate.untilWaiting(1);
      assertEquals([gate.waiting, server!.inFlight], [1, 1]);
      gate.answer();
    }
    assertEquals([(await first).status, ...await Promise.all(later)], [200, 200, 200, 200]);
    assertEquals(gate.upstream.seen.map(({ target }) => target), ["/", "/1", "/2", "/3"]);
  });
}

eachTransport("proxy answers 503 when a request has waited too long, and does not send it", async (start) => {
  await using gate = new Gate();
  await using proxy = await start({ upstreams: { ...poolOf(gate, 1), queue: { timeout: "100ms" } } });
  const running = proxy.ask();
  await gate.untilWaiting(1);
  const late = await proxy.ask();
  assertEquals([late.status, late.field("retry-after"), gate.upstream.requests], [503, "1", 1]);
  gate.answer();
  assertEquals((await running).status, 200);
});

eachTransport(
  "proxy forgets a client that leaves the queue, and gives its place to the next",
  async (start) => {
    await using gate = new Gate();
    await using proxy = await start({ upstreams: { ...poolOf(gate, 1), queue: { timeout: "30s" } } });
    const running = proxy.ask();
    await gate.untilWaiting(1);
    for (let i = 1; i <= 3; i++) {
      const client = await proxy.connect();
      await client.write("GET /gone HTTP/1.1\r\nHost: h\r\n\r\n");
      client.close();
      const { status, attempts, server } = await proxy.seen.untilEntries(i);
      assertEquals({ status, attempts, server }, { status: 499, attempts: 0, server: null });
    }
    const next = proxy.ask("GET /next");
    gate.answer();
    await running;
    await gate.untilWaiting(1);
    gate.answer();
    assertEquals((await next).status, 200);
    assertEquals(gate.upstream.seen.map(({ target }) => target), ["/", "/next"]);
  },
);

eachTransport("proxy ends the waiting when a server is added, and when it is stopped", async (start) => {
  await using gate = new Gate();
  await using b = startUpstream("b");
  const arrivals = new Arrivals();
  const proxy = await start({
    upstreams: { ...poolOf(gate, 1), queue: { timeout: "30s" } },
    gracePeriod: "50ms",
    newContext: arrivals.newContext,
  });
  const statusOf = (ask: Promise<{ status: number }>) => ask.then(({ status }) => status, () => 0);
  const running = statusOf(proxy.ask());
  await gate.untilWaiting(1);
  const second = proxy.ask();
  await arrivals.until(2);
  const pool = proxy.server.pools.get("default")!;
  pool.addServer({ address: b.address, maxInFlight: 1 });
  assertEquals((await second).text, "b");
  pool.setEnabled(b.address, false);
  const third = statusOf(proxy.ask());
  await arrivals.until(3);
  await proxy[Symbol.asyncDispose]();
  assertEquals([await third, await running], [503, 503]);
});

/** A server that says that it is not well, and counts what it gets all the same. */
function ailing() {
  return startUpstream({
    handler: (request) =>
      new Response("x", { status: new URL(request.url).pathname === "/health" ? 503 : 200 }),
  });
}

for (const initial of ["checking", "down"] as const) {
  for (const change of ["addServer", "replaceServers"] as const) {
    eachTransport(
      `proxy sends no request from the queue to a server that was just added: ${change}, ${initial}`,
      async (start) => {
        await using gate = new Gate();
        await using added = ailing();
        const arrivals = new Arrivals();
        await using proxy = await start({
          upstreams: {
            ...poolOf(gate, 1),
            queue: { timeout: "30s" },
            healthCheck: {
              type: "custom",
              initial,
              check: async ({ id }) => {
                if (id === gate.upstream.address) return;
                const response = await fetch(`http://${id}/health`);
                await response.body?.cancel();
                return response.ok;
              },
            },
          },
          newContext: arrivals.newContext,
        });
        const pool = proxy.server.pools.get("default")!;
        const running = proxy.ask("GET /first");
        await gate.untilWaiting(1);
        const waiting = proxy.ask("GET /second");
        await arrivals.until(2);
        if (change === "addServer") pool.addServer(added.address);
        else pool.replaceServers([{ address: gate.upstream.address, maxInFlight: 1 }, added.address]);
        gate.answer("a");
        const first = await Promise.race([
          waiting.then(() => "added"),
          gate.untilWaiting(1).then(() => "gate"),
        ]);
        assertEquals(first, "gate");
        gate.answer("b");
        assertEquals([(await running).text, (await waiting).text], ["a", "b"]);
        assertEquals(added.seen.map(({ target }) => target).filter((target) => target !== "/health"), []);
      },
    );
  }
}

eachTransport("proxy serves a request as soon as the first of all servers is back", async (start) => {
  const [port, other] = [deadPort(), deadPort()];
  await using proxy = await start({
    upstreams: {
      servers: [`127.0.0.1:${port}`, `127.0.0.1:${other}`],
      // Only what is looked at because a request waits can find out in time.
      healthCheck: { type: "tcp", interval: "1h" },
    },
  });
  await using _back = startUpstream({ name: "b", port });
  assertEquals(await answers(proxy, 1), "b");
});

eachTransport("proxy refuses at once what no server can take, when none of them is back", async (start) => {
  await using proxy = await start({
    upstreams: { servers: [`127.0.0.1:${deadPort()}`], healthCheck: { type: "tcp", interval: "1h" } },
  });
  const refused = await proxy.ask();
  assertEquals([refused.status, refused.field("retry-after")], [503, "3600"]);
  assertEquals(refused.field("proxy-status"), "lbproxy; error=destination_unavailable");
});

eachTransport("proxy tries an ejected server when no other one can be used", async (start) => {
  const [port, other] = [deadPort(), deadPort()];
  await using proxy = await start({
    upstreams: {
      servers: [`127.0.0.1:${port}`, `127.0.0.1:${other}`],
      ejection: { consecutiveFailures: 1, baseTime: "1h" },
    },
  });
  assertEquals(await answers(proxy, 3), "[502][502][502]");
  const pool = proxy.server.pools.get("default")!;
  const ejected = pool.servers.findIndex((server) => server.ejected);
  await using _back = startUpstream({ name: "b", port: [port, other][ejected]! });
  assertEquals(await answers(proxy, 6), "bbbbbb");
  assertEquals([pool.servers[ejected]!.ejected, pool.servers[1 - ejected]!.ejected], [false, true]);
});
