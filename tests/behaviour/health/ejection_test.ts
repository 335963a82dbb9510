import { assertEquals, assertMatch } from "@std/assert";
import { answers } from "../../support/answers.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { type RawUpstream, rawUpstream } from "../../support/raw_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** An upstream that responds with this status as long as it is told to. */
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
    const ejections = () => proxy.seen.eventsOf("ejection");
    assertEquals(ejections()[0]!.ejected, true);
    await using _back = startUpstream({ name: "b", port });
    // On a slow machine its time may be over, and begin once more, before all of the eight are answered.
    await proxy.seen.until(() => !ejections().at(-1)!.ejected);
    assertEquals(ejections().at(-1)!.reason, null);
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

/** A server whose connections are checks until something is sent on them; knows how many of each there were. */
class CountingServer implements AsyncDisposable {
  checks = 0;
  requests = 0;
  readonly #watchers = new Set<() => void>();
  readonly upstream: RawUpstream;

  /** @param respond what is sent to a request, with its first line; `null` is nothing, ever, and `""` the end */
  constructor(respond: (requestLine: string) => string | null | Promise<string>) {
    this.upstream = rawUpstream(async (connection) => {
      for (let first = true;; first = false) {
        const head = await connection.readHead();
        if (head === null && first) this.checks++;
        if (head === null) return this.#changed();
        const [line] = head.split("\r\n");
        if (line!.includes("/health")) this.checks++;
        else this.requests++;
        this.#changed();
        const response = await respond(line!);
        if (response === null) return void await connection.read();
        if (response === "") return;
        await connection.write(response);
      }
    });
  }

  get address(): string {
    return this.upstream.address;
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Resolves when so many more checks have come. */
  async untilChecked(more: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wanted = this.checks + more;
    const watcher = () => void (this.checks >= wanted && resolve());
    this.#watchers.add(watcher);
    await promise;
    this.#watchers.delete(watcher);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.upstream.close();
  }
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";
const REFUSED = "HTTP/1.1 200 OK\r\nContent-Length: one\r\n\r\nb";

eachTransport(
  "proxy lets a server that refused connections in as soon as a TCP check has passed",
  async (start) => {
    const port = deadPort();
    await using good = startUpstream("g");
    await using proxy = await start({
      upstreams: {
        servers: [`127.0.0.1:${port}`, good.address],
        ejection: { consecutiveFailures: 2, baseTime: "1h" },
        healthCheck: { type: "tcp", interval: "30ms", initial: "up", fall: 1000 },
      },
    });
    assertEquals(await answers(proxy, 6), "gggggg");
    assertEquals(proxy.seen.eventsOf("ejection").length, 1);
    await using _back = startUpstream({ name: "b", port });
    await proxy.seen.until(() => proxy.seen.eventsOf("ejection").length === 2);
    assertEquals((await answers(proxy, 4)).replaceAll("g", ""), "bb");
  },
);

eachTransport(
  "proxy does not let a server that accepts and never responds in because a TCP check has passed",
  async (start) => {
    await using hung = new CountingServer(() => null);
    await using good = startUpstream("g");
    await using proxy = await start({
      upstreams: {
        servers: [hung.address, good.address],
        timeouts: { connect: "100ms", response: "100ms" },
        ejection: { consecutiveFailures: 2, baseTime: "1h" },
        healthCheck: { type: "tcp", interval: "10ms", jitter: 0 },
      },
    });
    assertEquals(await answers(proxy, 6), "gggggg");
    assertEquals([hung.requests, proxy.seen.eventsOf("ejection").length], [2, 1]);
    await hung.untilChecked(5);
    assertEquals(await answers(proxy, 6), "gggggg");
    assertEquals([hung.requests, proxy.seen.eventsOf("ejection").length], [2, 1]);
  },
);

eachTransport("proxy tries a server with one request at a time after its ejection", async (start) => {
  let respond = (): string | Promise<string> => "";
  await using bad = new CountingServer(() => respond());
  await using good = startUpstream("g");
  await using proxy = await start({
    upstreams: {
      servers: [bad.address, good.address],
      ejection: { consecutiveFailures: 2, failureRate: 2, baseTime: "50ms", maxTime: "50ms" },
    },
  });
  const ejections = () => proxy.seen.eventsOf("ejection");
  /** Six requests at once, of which the bad server holds those that it gets until the others are over. */
  const together = async () => {
    const end = Promise.withResolvers<string>();
    const othersOver = Promise.withResolvers<void>();
    let held = 0;
    let over = 0;
    respond = () => {
      // One would be enough; with more the others would never be five.
      if (++held > 1) othersOver.resolve();
      return end.promise;
    };
    const sent = Array.from({ length: 6 }, async () => {
      const text = await answers(proxy, 1);
      if (++over === 5) othersOver.resolve();
      return text;
    });
    await othersOver.promise;
    end.resolve("");
    return (await Promise.all(sent)).join("");
  };
  assertEquals(await answers(proxy, 4), "gggg");
  for (let i = 1; i <= 3; i++) {
    await proxy.seen.until(() => ejections().length >= 2 * i && !ejections().at(-1)!.ejected);
    const before = bad.requests;
    assertEquals(await together(), "gggggg");
    assertEquals(bad.requests, before + 1);
  }
  assertEquals(ejections().map(({ reason }) => reason).slice(0, 3), [
    "2 requests failed in a row, out for 50ms",
    null,
    "the first request after its ejection failed, out for 50ms",
  ]);
  respond = () => OK;
  await proxy.seen.until(() => ejections().length >= 8 && !ejections().at(-1)!.ejected);
  assertEquals((await answers(proxy, 8)).replaceAll("g", ""), "bbbb");
});

eachTransport("proxy calls no server healthy whose responses it refuses", async (start) => {
  await using bad = new CountingServer(() => REFUSED);
  await using good = startUpstream("g");
  await using proxy = await start({
    upstreams: {
      servers: [bad.address, good.address],
      healthCheck: { type: "http", interval: "10ms", path: "/health", jitter: 0 },
    },
  });
  const [event] = proxy.seen.eventsOf("health");
  assertEquals(
    [event?.server, event?.healthy, event?.reason],
    [bad.address, false, "Cannot read the response: it has a content-length that is not a number"],
  );
  await bad.untilChecked(3);
  assertEquals(await answers(proxy, 6), "gggggg");
  assertEquals(bad.requests, 0);
});

eachTransport(
  "proxy believes a check no more once a request has failed although it had passed",
  async (start) => {
    let response = REFUSED;
    let health = OK;
    await using bad = new CountingServer((line) => line.includes("/health") ? health : response);
    await using good = startUpstream("g");
    await using proxy = await start({
      upstreams: {
        servers: [bad.address, good.address],
        ejection: { consecutiveFailures: 2, baseTime: "1h" },
        healthCheck: { type: "http", interval: "10ms", path: "/health", jitter: 0, fall: 1000 },
      },
    });
    const ejections = () => proxy.seen.eventsOf("ejection");
    while (ejections().length === 0) await answers(proxy, 1);
    await proxy.seen.until(() => ejections().length === 2);
    assertEquals([ejections()[1]!.ejected, bad.requests], [false, 2]);
    while (bad.requests === 2) await answers(proxy, 1);
    assertMatch(ejections()[2]!.reason!, /^a request failed although its check has passed, out for /);
    await bad.untilChecked(5);
    assertEquals([await answers(proxy, 6), bad.requests, ejections().length], ["gggggg", 3, 3]);
    health = REFUSED;
    await bad.untilChecked(2);
    [response, health] = [OK, OK];
    await proxy.seen.until(() => ejections().length === 4);
    assertEquals((await answers(proxy, 6)).replaceAll("g", ""), "bbb");
  },
);

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

eachTransport(
  "proxy says once that panic has begun, and that it is over, and counts by then",
  async (start) => {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    let up = true;
    await using proxy = await start({
      upstreams: {
        servers: [a.address, b.address],
        panicThreshold: 0.6,
        healthCheck: {
          type: "custom",
          interval: "20ms",
          rise: 1,
          fall: 1,
          check: (server) => Promise.resolve(up || server.id === a.address),
        },
      },
    });
    const told = () => proxy.seen.eventsOf("panic");
    for (const panic of [true, false]) {
      const before = told().length;
      up = !panic;
      await proxy.seen.until(() => proxy.seen.eventsOf("health").at(-1)?.healthy === up);
      while (told().length === before) await answers(proxy, 1);
      await answers(proxy, 8);
      assertEquals(told().slice(before), [
        { kind: "panic", pool: "default", panic, availableServers: panic ? 1 : 2, totalServers: 2 },
      ]);
      assertMatch(
        proxy.server.metrics(),
        new RegExp(`^lbproxy_panic\\{pool="default"\\} ${panic ? 1 : 0}$`, "m"),
      );
    }
  },
);
