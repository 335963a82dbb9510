import { assert, assertEquals } from "@std/assert";
import { answers } from "../../support/answers.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { answering, rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

const FAST = { interval: "30ms", timeout: "5s", jitter: 0 } as const;

/** An upstream whose health does not depend on its other responses. */
function monitored(name: string) {
  const health = { status: 200, body: "status: ok" };
  const upstream = startUpstream({
    handler: (request) =>
      new URL(request.url).pathname === "/health"
        ? new Response(health.body, { status: health.status, headers: { location: "/elsewhere" } })
        : new Response(name),
  });
  return { health, upstream };
}

eachTransport(
  "proxy asks for health by HTTP and sends nothing to a server that does not pass",
  async (start) => {
    const { health, upstream: a } = monitored("a");
    await using _a = a;
    await using b = monitored("b").upstream;
    const changes: string[] = [];
    await using proxy = await start({
      upstreams: {
        servers: [a.address, b.address],
        healthCheck: {
          type: "http",
          ...FAST,
          path: "/health",
          host: "health.test",
          headers: { "x-probe": "1" },
          expectedStatuses: [200, "204-299"],
          body: /status: (ok|fine)/,
        },
        onHealthChange: (server, healthy, reason) =>
          changes.push(`${server.id === a.address ? "a" : "b"} ${healthy} ${reason}`),
      },
    });
    assertEquals(await answers(proxy, 4), "abab");
    const flips = (count: number) => proxy.seen.until(() => proxy.seen.eventsOf("health").length >= count);
    health.status = 302;
    await flips(1);
    assertEquals(await answers(proxy, 3), "bbb");
    health.status = 200;
    await flips(2);
    health.body = "status: bad";
    await flips(3);
    assertEquals(await answers(proxy, 3), "bbb");
    assertEquals(changes, [
      "a false status 302",
      "a true ",
      "a false the content is not as expected",
    ]);
    const [probe] = a.seen;
    assertEquals(
      [probe!.method, probe!.target, probe!.headers.get("host"), probe!.headers.get("x-probe")],
      ["GET", "/health", "health.test", "1"],
    );
  },
);

Deno.test("proxy sends nothing to a server whose response to the check it would refuse", async () => {
  await using good = startUpstream("g");
  await using bad = rawUpstream(
    answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc"),
  );
  await using proxy = await startProxy({
    upstreams: { servers: [good.address, bad.address], healthCheck: { type: "http", ...FAST } },
  });
  assertEquals(await answers(proxy, 3), "ggg");
  assertEquals(
    proxy.seen.eventsOf("health").map(({ server, healthy, reason }) => [server, healthy, reason]),
    [[bad.address, false, "Cannot read the response: it has two content-lengths that differ"]],
  );
});

Deno.test("proxy goes by the check at another port", async () => {
  await using a = startUpstream("a");
  await using probed = startUpstream("probed");
  await using proxy = await startProxy({
    upstreams: { servers: [a.address], healthCheck: { type: "http", ...FAST, port: probed.port } },
  });
  assertEquals(await answers(proxy, 1), "a");
  assert(probed.requests > 0);
  await probed.close();
  await proxy.seen.until(() => proxy.seen.eventsOf("health").length === 1);
  assertEquals(await answers(proxy, 1), "[503]");
});

Deno.test("proxy checks by a TLS handshake, with the name and the trust of requests", async () => {
  await using good = await tlsUpstream({ name: "g", names: ["api.test"] });
  await using other = await tlsUpstream({ name: "o", names: ["other.test"] });
  const { cert } = await testCa();
  await using proxy = await startProxy({
    upstreams: {
      servers: [good.address, other.address],
      tls: { serverName: "api.test", caCerts: [cert] },
      healthCheck: { type: "tls", ...FAST },
    },
  });
  assertEquals(await answers(proxy, 4), "gggg");
  assertEquals(proxy.seen.eventsOf("health").map(({ server }) => server), [other.address]);
});

for (const form of ["a function", "an object"] as const) {
  Deno.test(`proxy checks by a function of the configuration, given as ${form}`, async () => {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    const answer = new Map([[a.address, "yes"], [b.address, "no"]]);
    const check = (server: { id: string }) => {
      if (answer.get(server.id) === "error") throw new Error("cannot tell");
      return Promise.resolve(answer.get(server.id) === "yes");
    };
    await using proxy = await startProxy({
      upstreams: {
        servers: [a.address, b.address],
        healthCheck: form === "an object"
          ? { type: "custom", ...FAST, check }
          : check as () => Promise<boolean>,
      },
    });
    assertEquals(await answers(proxy, 2), "aa");
    assertEquals(proxy.seen.eventsOf("health").map(({ reason }) => reason), ["the check returned false"]);
    if (form === "a function") return;
    answer.set(a.address, "error").set(b.address, "yes");
    await proxy.seen.until(() => proxy.seen.eventsOf("health").length === 3);
    assertEquals(await answers(proxy, 2), "bb");
    assertEquals(proxy.seen.eventsOf("health").some(({ reason }) => reason === "cannot tell"), true);
  });
}

Deno.test("proxy takes servers for what they are said to be at first, until enough checks have passed", async () => {
  await using a = startUpstream("a");
  const { promise: allowed, resolve: allow } = Promise.withResolvers<void>();
  let checks = 0;
  await using proxy = await startProxy({
    upstreams: {
      servers: [a.address],
      healthCheck: {
        type: "custom",
        ...FAST,
        initial: "down",
        rise: 2,
        check: async () => void (checks++ > 0 && await allowed),
      },
    },
  });
  assertEquals(await answers(proxy, 1), "[503]");
  allow();
  await proxy.seen.until(() => proxy.seen.eventsOf("health").length === 1);
  assertEquals(await answers(proxy, 1), "a");
});

Deno.test("proxy looks at servers that are down at their own interval", async () => {
  await using a = startUpstream("a");
  const times: number[] = [];
  await using proxy = await startProxy({
    upstreams: {
      servers: [a.address],
      healthCheck: {
        type: "custom",
        interval: "1h",
        unhealthyInterval: "20ms",
        check: () => Promise.resolve(times.push(performance.now()) >= 4),
      },
    },
  });
  await proxy.seen.until(() => proxy.seen.eventsOf("health").some(({ healthy }) => healthy));
  assertEquals(times.length, 4);
  assertEquals(await answers(proxy, 1), "a");
});

Deno.test("proxy listens although a check hangs, after the timeout of checks", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await startProxy({
    upstreams: {
      servers: [a.address, b.address],
      healthCheck: {
        type: "custom",
        interval: "1h",
        timeout: "100ms",
        check: (server) => server.id === a.address ? new Promise(() => {}) : Promise.resolve(),
      },
    },
  });
  assertEquals(await answers(proxy, 2), "bb");
});

Deno.test("proxy goes on when onHealthChange throws or rejects, and reports it", async () => {
  await using a = startUpstream("a");
  let up = true;
  let calls = 0;
  await using proxy = await startProxy({
    upstreams: {
      servers: [a.address],
      healthCheck: { type: "custom", ...FAST, check: () => Promise.resolve(up) },
      onHealthChange: (): void | Promise<void> => {
        if (calls++ === 0) throw new Error("at once");
        return Promise.reject(new Error("later"));
      },
    },
  });
  up = false;
  await proxy.seen.until(() => proxy.seen.eventsOf("callback_error").length === 1);
  up = true;
  await proxy.seen.until(() => proxy.seen.eventsOf("callback_error").length === 2);
  assertEquals(proxy.seen.eventsOf("callback_error").map(({ name, message }) => `${name} ${message}`), [
    "onHealthChange at once",
    "onHealthChange later",
  ]);
  assertEquals(await answers(proxy, 1), "a");
});
