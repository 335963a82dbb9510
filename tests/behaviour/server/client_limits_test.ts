/** How long clients of the `http1` engine may take, and how much they may take up. */

import { assertEquals } from "@std/assert";
import type { ClientLimitOptions } from "../../../lib/config/listen_options.ts";
import { type Clock, systemClock } from "../../../lib/core/clock.ts";
import type { ServeOptions } from "../../../lib/server/serve_options.ts";
import { writeProxyHeader } from "../../../lib/http1/proxy_protocol.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import type { RawConnection } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { readAnswer, startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const HOUR_MS = 3_600_000;

function startWith(
  upstream: { address: string },
  limits: ClientLimitOptions,
  options: Omit<ServeOptions, "observer"> = {},
): Promise<TestProxy> {
  return startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1", ...limits },
    upstreams: [upstream.address],
  }, options);
}

/** The machine's clock, which a test can put forward. */
class JumpingClock implements Clock {
  #aheadMs = 0;

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  wallTime(): number {
    return systemClock.wallTime() + this.#aheadMs;
  }

  setTimer(callback: () => void, delayMs: number): Disposable {
    return systemClock.setTimer(callback, delayMs);
  }

  jump(ms: number): void {
    this.#aheadMs += ms;
  }
}

Deno.test("Client limits: heads of more bytes or fields than allowed get 431", async () => {
  await using upstream = startUpstream();
  await using proxy = await startWith(upstream, { maxHeadBytes: "1KiB", maxFields: 3 });
  const statusOf = async (lines: string[]) => (await proxy.ask("GET /", lines)).status;
  assertEquals(await statusOf(["A: 1", "B: 2"]), 200);
  assertEquals(await statusOf(["A: 1", "B: 2", "C: 3"]), 431);
  assertEquals(await statusOf([`A: ${"a".repeat(900)}`]), 200);
  assertEquals(await statusOf([`A: ${"a".repeat(1000)}`]), 431);
  assertEquals(upstream.requests, 2);
});

Deno.test("Client limits: a connection ends after so many requests, of which the last one says so", async () => {
  await using upstream = startUpstream();
  await using proxy = await startWith(upstream, { maxRequestsPerConnection: 3 });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(4));
  const said = [];
  for (let i = 0; i < 3; i++) said.push((await readAnswer(client)).field("connection"));
  assertEquals(said, [undefined, undefined, "close"]);
  assertEquals(await client.read(), null);
  assertEquals(upstream.requests, 3);
});

Deno.test("Client limits: a head that is not whole in time gets 408, however its bytes come", async () => {
  await using upstream = startUpstream();
  await using proxy = await startWith(upstream, { timeouts: { head: "250ms" } });
  using still = await proxy.connect();
  await still.write("GET / HTTP/1.1\r\nHost: h\r\n");
  const slow = await Promise.all(Array.from({ length: 40 }, () => proxy.connect()));
  const trickles = slow.map(async (client) => {
    const answer = readAnswer(client);
    let answered = false;
    answer.finally(() => answered = true);
    for (const byte of "GET / HTTP/1.1\r\nHost: h\r\nX: " + "x".repeat(HOUR_MS)) {
      if (answered) break;
      await client.write(byte).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return (await answer).status;
  });
  // Nobody else has to wait for them.
  for (let i = 0; i < 10; i++) assertEquals((await proxy.ask()).status, 200);
  assertEquals(await Promise.all(trickles), slow.map(() => 408));
  const { status, field } = await readAnswer(still);
  assertEquals([status, field("connection")], [408, "close"]);
  await Promise.all([still, ...slow].map((client) => client.untilClosed()));
  assertEquals(upstream.requests, 10);
  for (const client of slow) client.close();
});

Deno.test("Client limits: a connection without a request is closed, before the first one and after one", async () => {
  await using upstream = startUpstream();
  await using proxy = await startWith(upstream, { timeouts: { keepAlive: "200ms" } });
  using fresh = await proxy.connect();
  using used = await proxy.connect();
  await used.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(used)).status, 200);
  assertEquals([await fresh.read(), await used.read()], [null, null]);
  assertEquals(proxy.seen.entries.map(({ status }) => status), [200]);
});

Deno.test("Client limits: content that stops gets 408, and the server is left", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.untilClosed();
  });
  await using proxy = await startWith(upstream, { timeouts: { content: "200ms" } });
  using client = await proxy.connect();
  await client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab");
  const { status, field } = await readAnswer(client, "POST");
  assertEquals([status, field("connection")], [408, "close"]);
  await client.untilClosed();
  await upstream.untilOpen(0);
});

for (const [minContentRate, expected] of [[undefined, 408], [0, 200]] as const) {
  Deno.test(`Client limits: content at a byte in 11 s gets ${expected} where ${minContentRate ?? 240} B/s have to come`, async () => {
    const clock = new JumpingClock();
    const begun = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (connection) => {
      await connection.readUntil("\r\n\r\na");
      begun.resolve();
      await connection.readExactly(2);
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    await using proxy = await startWith(
      upstream,
      { timeouts: { content: "1h" }, ...(minContentRate === undefined ? {} : { minContentRate }) },
      { clock },
    );
    using client = await proxy.connect();
    const answer = readAnswer(client, "POST");
    await client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
    await begun.promise;
    clock.jump(11_000);
    // The wheel has to turn once.
    await new Promise((resolve) => setTimeout(resolve, 100));
    await client.write("b");
    if (expected === 200) await client.write("c");
    assertEquals((await answer).status, expected);
  });
}

Deno.test("Client limits: a response that its client does not take is cut off", async () => {
  await using upstream = startUpstream({ handler: () => new Response(new Uint8Array(64 * 1024 * 1024)) });
  await using proxy = await startWith(upstream, { timeouts: { write: "300ms" } });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const { status, error } = await proxy.seen.untilEntries(1);
  assertEquals([status, error], [499, "client_gone"]);
  await client.untilClosed();
});

Deno.test("Client limits: a client that takes a response slowly but steadily gets all of it", async () => {
  const length = 24 * 1024 * 1024;
  await using upstream = startUpstream({ handler: () => new Response(new Uint8Array(length)) });
  await using proxy = await startWith(upstream, { timeouts: { write: "600ms" } });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  let read = 0;
  while (read < length) {
    read += (await client.read(1024 * 1024))!.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertEquals((await proxy.seen.untilEntries(1)).error, null);
});

Deno.test("Client limits: a client that has shut down its side is served, and left when nothing moves", async () => {
  const go = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (connection) => {
    const { startLine } = (await connection.readRequest())!;
    await go.promise;
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    if (startLine.includes("whole")) await connection.write("cd");
    await connection.untilClosed();
  });
  await using proxy = await startWith(upstream, { timeouts: { halfClosed: "250ms" } });
  using served = await proxy.connect();
  using left = await proxy.connect();
  await served.write("GET /whole HTTP/1.1\r\nHost: h\r\n\r\n");
  await left.write("GET /half HTTP/1.1\r\nHost: h\r\n\r\n");
  await served.closeWrite();
  await left.closeWrite();
  await upstream.untilOpen(2);
  // Longer than it may take once the response has begun: until then it is asked whether it is still there.
  await new Promise((resolve) => setTimeout(resolve, 400));
  go.resolve();
  let answer = await readAnswer(served);
  while (answer.status === 100) answer = await readAnswer(served);
  assertEquals(answer.text, "abcd");
  await left.untilClosed();
  await proxy.seen.untilEntries(2);
  const ends = proxy.seen.entries.map(({ target, error }) => [target, error]).sort();
  assertEquals(ends, [["/half", "client_gone"], ["/whole", null]]);
});

Deno.test("Client limits: for one connection too many, that which has been idle for longest is closed", async () => {
  await using upstream = startUpstream();
  await using proxy = await startWith(upstream, { maxConnections: 3 });
  const ask = async (client: RawConnection) => {
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    return (await readAnswer(client)).status;
  };
  using first = await proxy.connect();
  assertEquals(await ask(first), 200);
  using second = await proxy.connect();
  assertEquals(await ask(second), 200);
  using third = await proxy.connect();
  assertEquals(await ask(third), 200);
  // The second one is idle for longest now.
  assertEquals(await ask(first), 200);
  using fourth = await proxy.connect();
  assertEquals(await ask(fourth), 200);
  assertEquals(await second.read(), null);
  assertEquals([await ask(first), await ask(third), await ask(fourth)], [200, 200, 200]);
  assertEquals(proxy.seen.eventsOf("listener_error"), []);
});

Deno.test("Client limits: where no connection is idle, clients wait to be accepted, and it is said once", async () => {
  const go = Promise.withResolvers<void>();
  const arrived = [
    Promise.withResolvers<void>(),
    Promise.withResolvers<void>(),
    Promise.withResolvers<void>(),
  ];
  let requests = 0;
  await using upstream = startUpstream({
    handler: async () => {
      arrived[requests++]?.resolve();
      await go.promise;
      return new Response("late");
    },
  });
  await using proxy = await startWith(upstream, { maxConnections: 2 });
  const asked = [proxy.ask(), proxy.ask(), proxy.ask(), proxy.ask()];
  await proxy.seen.until(() => proxy.seen.eventsOf("listener_error").length > 0);
  await Promise.all([arrived[0]!.promise, arrived[1]!.promise]);
  assertEquals(requests, 2);
  go.resolve();
  assertEquals((await Promise.all(asked)).map(({ text }) => text), ["late", "late", "late", "late"]);
  await proxy.seen.until(() => proxy.seen.eventsOf("listener_recovered").length > 0);
  const said = proxy.seen.eventsOf("listener_error").map((
    { message, runningRequests },
  ) => [message, runningRequests]);
  assertEquals(said.length, 1);
  assertEquals(said[0]![0], "all 2 connections are in use");
});

Deno.test("Client limits: while a client waits to be accepted, responses end their connections", async () => {
  await using upstream = startUpstream();
  // What is idle is given up by time, which stands still here.
  await using proxy = await startWith(upstream, { maxConnections: 1 }, { clock: new FakeClock() });
  const request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  using first = await proxy.connect();
  await first.write(request);
  assertEquals((await readAnswer(first)).status, 200);
  using second = await proxy.connect();
  await second.write(request);
  // Nothing tells when the proxy has found the second one: from then on a response says that it is the last.
  for (let last = false; !last;) {
    await first.write(request);
    const { status, field } = await readAnswer(first);
    assertEquals(status, 200);
    last = field("connection") === "close";
  }
  await first.untilClosed();
  first.close();
  const { status, field } = await readAnswer(second);
  assertEquals([status, field("connection")], [200, undefined]);
  assertEquals(proxy.seen.eventsOf("listener_error"), []);
});

Deno.test("Client limits: a proxy that is full stops, with clients that wait to be accepted", async () => {
  const arrived = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async () => {
      arrived.resolve();
      await go.promise;
      return new Response("late");
    },
  });
  const proxy = await startWith(upstream, { maxConnections: 1 });
  const asked = proxy.ask();
  await arrived.promise;
  using waiting = await proxy.connect();
  await proxy.seen.until(() => proxy.seen.eventsOf("listener_error").length > 0);
  const stopped = proxy[Symbol.asyncDispose]();
  await waiting.untilClosed();
  go.resolve();
  assertEquals((await asked).text, "late");
  await stopped;
});

Deno.test("Client limits: one client has no more connections than allowed", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    listen: {
      hostname: "127.0.0.1",
      port: 0,
      engine: "http1",
      maxConnectionsPerClient: 2,
    },
    upstreams: [upstream.address],
  });
  const ask = async (client: RawConnection) => {
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    return (await readAnswer(client)).status;
  };
  using first = await proxy.connect();
  using second = await proxy.connect();
  assertEquals([await ask(first), await ask(second)], [200, 200]);
  using third = await proxy.connect();
  await third.write("POST /third HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
  assertEquals((await readAnswer(third)).status, 429);
  await third.untilClosed();
  const { method, target, status: refused } = proxy.seen.entries[2]!;
  assertEquals([method, target, refused], ["POST", "/third", 429]);
  // Whoever does not say what it wants is told all the same.
  using silent = await proxy.connect();
  assertEquals((await readAnswer(silent)).status, 429);
  assertEquals([await ask(first), await ask(second)], [200, 200]);
  first.close();
  // The place is free as soon as the proxy has noticed.
  let status = 0;
  for (let tries = 0; status !== 200 && tries < 1000; tries++) status = (await proxy.ask()).status;
  assertEquals(status, 200);
});

Deno.test("Client limits: connections of one client are counted by the PROXY protocol", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    listen: {
      hostname: "127.0.0.1",
      port: 0,
      engine: "http1",
      maxConnectionsPerClient: 1,
      proxyProtocol: { from: ["loopback"] },
    },
    upstreams: [upstream.address],
  });
  const kept = [];
  const statuses = [];
  for (
    const ip of ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", null]
  ) {
    const client = await proxy.connect();
    kept.push(client);
    const addresses = ip === null ? null : { ip, port: 1, localIp: "192.0.2.9", localPort: 80 };
    await client.write(writeProxyHeader(2, addresses));
    await client.write("GET /mine HTTP/1.1\r\nHost: h\r\n\r\n");
    statuses.push((await readAnswer(client)).status);
  }
  assertEquals(statuses, [200, 200, 429, 200, 429, 200, 200]);
  assertEquals(new Set(proxy.seen.entries.map(({ target }) => target)), new Set(["/mine"]));
  for (const client of kept) client.close();
});
