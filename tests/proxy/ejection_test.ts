import { assertEquals, assertMatch } from "@std/assert";
import { answers } from "../support/answers.ts";
import { deadPort } from "../support/dead_port.ts";
import { eachTransport } from "../support/each_transport.ts";
import { startUpstream } from "../support/start_upstream.ts";

/** An upstream that answers with this status as long as it is told to. */
function failing(status: number) {
  const state = { status };
  const upstream = startUpstream({
    handler: () => new Response("x", { status: state.status }),
  });
  return { upstream, state };
}

eachTransport("proxy ejects a server after failures in a row, by default, and says so", async (start) => {
  const { upstream: bad } = failing(503);
  await using _bad = bad;
  await using good = startUpstream("g");
  await using proxy = await start({ upstreams: [bad.address, good.address] });
  await answers(proxy, 10);
  const [event] = proxy.seen.eventsOf("ejection");
  assertEquals(event, {
    kind: "ejection",
    pool: "default",
    server: bad.address,
    ejected: true,
    reason: "5 requests failed in a row, out for 30s",
    availableServers: 1,
    totalServers: 2,
  });
  assertEquals(await answers(proxy, 6), "gggggg");
  assertEquals(bad.requests, 5);
});

eachTransport(
  "proxy ejects a server that refuses connections, and lets it in when its time is over",
  async (start) => {
    const port = deadPort();
    await using good = startUpstream("g");
    await using proxy = await start({
      upstreams: {
        servers: [`127.0.0.1:${port}`, good.address],
        ejection: { consecutiveFailures: 2, baseTime: "300ms" },
      },
    });
    assertEquals(await answers(proxy, 8), "gggggggg");
    assertEquals(proxy.seen.eventsOf("ejection").map(({ ejected }) => ejected), [true]);
    await using _back = startUpstream({ name: "b", port });
    await proxy.seen.until(() => proxy.seen.eventsOf("ejection").length === 2);
    assertEquals(proxy.seen.eventsOf("ejection")[1]!.reason, null);
    assertEquals((await answers(proxy, 4)).replaceAll("g", "").length, 2);
  },
);

eachTransport("proxy ejects a server that fails too often", async (start) => {
  let count = 0;
  await using flaky = startUpstream({
    handler: () => new Response("f", { status: ++count % 2 === 0 ? 200 : 504 }),
  });
  await using good = startUpstream("g");
  await using proxy = await start({
    upstreams: {
      servers: [flaky.address, good.address],
      ejection: { failureRate: 0.4, minRequests: 10 },
    },
  });
  await answers(proxy, 40);
  assertEquals(flaky.requests, 11);
  assertMatch(proxy.seen.eventsOf("ejection")[0]!.reason!, /^55% of 11 requests failed/);
});

eachTransport("proxy ejects nobody when it is told not to", async (start) => {
  const { upstream: bad } = failing(502);
  await using _bad = bad;
  await using good = startUpstream("g");
  await using proxy = await start({ upstreams: { servers: [bad.address, good.address], ejection: false } });
  await answers(proxy, 30);
  assertEquals([bad.requests, proxy.seen.eventsOf("ejection").length], [15, 0]);
});

eachTransport("proxy never ejects the only server", async (start) => {
  const { upstream: bad, state } = failing(503);
  await using _bad = bad;
  await using proxy = await start({ upstreams: [bad.address] });
  await answers(proxy, 12);
  state.status = 200;
  assertEquals(await answers(proxy, 1), "x");
});

eachTransport("proxy takes 4xx, 429 and 500 for no failure of the server", async (start) => {
  const { upstream: bad, state } = failing(400);
  await using _bad = bad;
  await using good = startUpstream("g");
  await using proxy = await start({
    upstreams: {
      servers: [bad.address, good.address],
      ejection: { consecutiveFailures: 1, failureRate: 0.01, minRequests: 1 },
    },
  });
  for (const status of [400, 401, 404, 408, 429, 499, 500, 501]) {
    state.status = status;
    assertEquals((await answers(proxy, 2)).replace("g", ""), `[${status}]`);
  }
  const server = proxy.server.pools.get("default")!.server(bad.address)!;
  assertEquals([server.ejected, server.failures, server.requests], [false, 0, 8]);
});

eachTransport("proxy takes clients that leave for no failure of the server", async (start) => {
  let asked = Promise.withResolvers<void>();
  await using slow = startUpstream({
    handler: (request) => {
      asked.resolve();
      return new Promise((resolve) =>
        request.signal.addEventListener("abort", () => resolve(new Response()))
      );
    },
  });
  await using good = startUpstream("g");
  await using proxy = await start({
    upstreams: {
      servers: [slow.address, good.address],
      balance: "first",
      ejection: { consecutiveFailures: 1, failureRate: 0.01, minRequests: 1 },
    },
  });
  for (let i = 0; i < 4; i++) {
    asked = Promise.withResolvers();
    const client = await proxy.connect();
    // Half of them in the middle of their own content.
    const content = i % 2 === 0 ? "" : "Content-Length: 300000\r\n";
    await client.write(`${content === "" ? "GET" : "POST"} / HTTP/1.1\r\nHost: h\r\n${content}\r\n`);
    if (content !== "") await client.write("x".repeat(200_000));
    await asked.promise;
    client.close();
    await proxy.seen.untilEntries(i + 1);
  }
  const server = proxy.server.pools.get("default")!.server(slow.address)!;
  assertEquals([server.ejected, server.failures, server.requests], [false, 0, 4]);
  assertEquals(proxy.seen.entries.map(({ status }) => status), [499, 499, 499, 499]);
});

eachTransport("proxy lets an ejected server in as soon as a check has passed", async (start) => {
  const { upstream: bad } = failing(503);
  await using _bad = bad;
  await using good = startUpstream("g");
  await using proxy = await start({
    upstreams: {
      servers: [bad.address, good.address],
      ejection: { baseTime: "1h" },
      healthCheck: { type: "tcp", interval: "100ms" },
    },
  });
  for (let i = 0; i < 200 && proxy.seen.eventsOf("ejection").length === 0; i++) await answers(proxy, 1);
  await proxy.seen.until(() => proxy.seen.eventsOf("ejection").some(({ ejected }) => !ejected));
  assertEquals(proxy.server.pools.get("default")!.server(bad.address)!.consecutiveFailures, 0);
});

eachTransport("proxy uses all servers below the panic threshold, and says so", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({
    upstreams: {
      servers: [a.address, b.address, `127.0.0.1:${deadPort()}`],
      panicThreshold: 0.6,
      healthCheck: {
        type: "custom",
        interval: "50ms",
        check: (server) => Promise.resolve(server.id === a.address),
      },
    },
  });
  const text = await answers(proxy, 6);
  assertEquals([text.includes("b"), text.replaceAll(/[ab]/g, "")], [true, ""]);
  assertEquals(proxy.seen.eventsOf("panic"), [
    { kind: "panic", pool: "default", panic: true, availableServers: 1, totalServers: 3 },
  ]);
});
