/** How long clients of the `http1` engine may take, and how much they may take up. */

import { assertEquals } from "@std/assert";
import type { ClientLimitOptions } from "../../../lib/config/client_limits.ts";
import { type Clock, systemClock } from "../../../lib/core/clock.ts";
import type { ServeOptions } from "../../../lib/server/serve_options.ts";
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
