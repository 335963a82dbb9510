import { assert, assertEquals, assertRejects } from "@std/assert";
import { Cancellation } from "../../../lib/core/cancellation.ts";
import { DeadlineWheel } from "../../../lib/core/deadline_wheel.ts";
import { ClientGoneError, UpstreamError } from "../../../lib/core/errors.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import type { ConnectionLimits } from "../../../lib/transport/http1/connection_pool.ts";
import { Http1Transport } from "../../../lib/transport/http1/http1_transport.ts";
import type { Peer } from "../../../lib/upstream/peer.ts";
import { deadPort } from "../../support/dead_port.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { type RawUpstream, rawUpstream } from "../../support/raw_upstream.ts";
import { bodyText, peerOf } from "../behaviour.ts";

const MINUTE = 60_000;

/** A transport whose time stands still, so that limits of time apply when the test says so. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly wheel = new DeadlineWheel({ clock: this.clock, tickMs: 5 });
  readonly transport: Http1Transport;

  constructor(connections: ConnectionLimits = {}) {
    this.transport = new Http1Transport({ clock: this.clock, wheel: this.wheel, connections });
  }

  /** The text of an answer; a failure is not unhandled when a test looks at it late. */
  send(peer: Peer, { totalMs = Infinity, cancellation = new Cancellation() } = {}): Promise<string> {
    const headers = new HeaderFields([["host", "h"]]);
    const timeouts = { connectMs: MINUTE, responseMs: MINUTE, idleMs: MINUTE, totalMs };
    const request = { method: "GET", target: "/", headers, body: null };
    const text = this.transport.send(request, peer, { timeouts, cancellation }).then(bodyText);
    text.catch(() => {});
    return text;
  }

  /** What the transport knows of its connections. */
  of(peer: Peer): { open: number; idle: number; waiting: number } {
    return this.transport.connectionsOf(peer);
  }

  [Symbol.dispose](): void {
    this.transport[Symbol.dispose]();
    assertEquals(this.wheel.pending, 0);
  }
}

/** An upstream that answers each request when told to, with the number of the connection. */
function gatedUpstream(): { upstream: RawUpstream; answer: (connection: number) => Promise<void> } {
  const upstream = rawUpstream(async (connection, index) => {
    while (await connection.readRequest() !== null) {
      const gate = Promise.withResolvers<void>();
      gates[index] = gate;
      arrived();
      await gate.promise;
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${index}`);
    }
  });
  const gates: (PromiseWithResolvers<void> | undefined)[] = [];
  let arrived = () => {};
  /** Waits for a request on a connection and answers it. */
  const answer = async (index: number) => {
    while (gates[index] === undefined) await new Promise<void>((resolve) => arrived = resolve);
    gates[index].resolve();
    gates[index] = undefined;
  };
  return { upstream, answer };
}

/** An upstream that answers every request at once with the number of the connection. */
function numberedUpstream(): RawUpstream {
  return rawUpstream(async (connection, index) => {
    while (await connection.readRequest() !== null) {
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${String(index).length}\r\n\r\n${index}`);
    }
  });
}

async function fails(attempt: Promise<unknown>, code: string, status: number): Promise<void> {
  const error = await assertRejects(() => attempt, UpstreamError);
  assertEquals([error.code, error.status, error.phase], [code, status, "unsent"]);
}

Deno.test("ConnectionPool uses the connection again that was used last", async () => {
  using bench = new Bench();
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const sent = [bench.send(peer), bench.send(peer), bench.send(peer)];
  await upstream.untilOpened(3);
  for (const index of [2, 0, 1]) {
    await answer(index);
    await Promise.race(
      sent.map(async (text) => assertEquals(await text, `${index}`)).map((p) =>
        p.catch(() => new Promise(() => {}))
      ),
    );
  }
  await Promise.all(sent);
  assertEquals(bench.of(peer), { open: 3, idle: 3, waiting: 0 });
  // The one that was free last, again and again; with it busy, the one before.
  for (let round = 0; round < 3; round++) {
    const next = bench.send(peer);
    await answer(1);
    assertEquals(await next, "1");
  }
  const [first, second] = [bench.send(peer), bench.send(peer)];
  await answer(0);
  assertEquals(await second, "0");
  await answer(1);
  assertEquals(await first, "1");
});

Deno.test("ConnectionPool opens no more than maxConnections; the others wait, first come, first served", async () => {
  using bench = new Bench({ maxConnections: 2 });
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const done: number[] = [];
  const sent = [0, 1, 2, 3, 4, 5].map((number) => bench.send(peer).then(() => void done.push(number)));
  await upstream.untilOpened(2);
  assertEquals(bench.of(peer), { open: 2, idle: 0, waiting: 4 });
  await answer(0);
  for (let count = 0; count < 4; count++) await answer(0);
  assertEquals(done.length < 6, true);
  await answer(1);
  await Promise.all(sent);
  // One of the first two was kept back on connection 1; the waiting ones were served in order.
  assertEquals(done.filter((number) => number >= 2), [2, 3, 4, 5]);
  assertEquals([upstream.opened, bench.of(peer)], [2, { open: 2, idle: 2, waiting: 0 }]);
});

Deno.test("ConnectionPool answers 503 at once when maxQueue requests wait", async () => {
  using bench = new Bench({ maxConnections: 1, maxQueue: 2 });
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const sent = [bench.send(peer), bench.send(peer), bench.send(peer)];
  await fails(bench.send(peer), "connection_limit_reached", 503);
  assertEquals(bench.of(peer).waiting, 2);
  for (const text of sent) {
    await answer(0);
    assertEquals(await text, "0");
  }
});

Deno.test("ConnectionPool answers 503 when no connection is free within queueTimeoutMs", async () => {
  using bench = new Bench({ maxConnections: 1, queueTimeoutMs: 500 });
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const served = bench.send(peer);
  const early = bench.send(peer);
  await bench.clock.advance(300);
  const late = bench.send(peer);
  await bench.clock.advance(300);
  await fails(early, "connection_limit_reached", 503);
  assertEquals(bench.of(peer).waiting, 1);
  await answer(0);
  await served;
  await answer(0);
  assertEquals(await late, "0");
});

Deno.test("ConnectionPool does not let a request wait longer than its exchange may take", async () => {
  using bench = new Bench({ maxConnections: 1, queueTimeoutMs: 5000 });
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const served = bench.send(peer);
  const patient = bench.send(peer);
  const hurried = bench.send(peer, { totalMs: 100 });
  await bench.clock.advance(200);
  await fails(hurried, "http_response_timeout", 504);
  assertEquals(bench.of(peer).waiting, 1);
  for (const text of [served, patient]) {
    await answer(0);
    assertEquals(await text, "0");
  }
});

Deno.test("ConnectionPool hears of each request that waits when it is called off", async () => {
  using bench = new Bench({ maxConnections: 1 });
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const served = bench.send(peer);
  const cancellations = [1, 2, 3].map(() => new Cancellation());
  const waiting = cancellations.map((cancellation) => bench.send(peer, { cancellation }));
  for (const cancellation of cancellations.toReversed()) cancellation.cancel(new ClientGoneError());
  assertEquals(bench.of(peer).waiting, 0);
  for (const gone of waiting) await assertRejects(() => gone, ClientGoneError);
  await answer(0);
  assertEquals(await served, "0");
});

Deno.test("ConnectionPool forgets a request that is called off while it waits", async () => {
  using bench = new Bench({ maxConnections: 1 });
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const served = bench.send(peer);
  const cancellation = new Cancellation();
  const gone = bench.send(peer, { cancellation });
  const next = bench.send(peer);
  cancellation.cancel(new ClientGoneError());
  assertEquals(bench.of(peer).waiting, 1);
  await assertRejects(() => gone, ClientGoneError);
  await answer(0);
  await served;
  await answer(0);
  assertEquals(await next, "0");
});

Deno.test("ConnectionPool gives the place of a connection that failed to the next that waits", async () => {
  using bench = new Bench({ maxConnections: 1 });
  const peer = peerOf(`127.0.0.1:${deadPort()}`);
  const sent = Array.from({ length: 5 }, () => bench.send(peer));
  assertEquals(bench.of(peer), { open: 1, idle: 0, waiting: 4 });
  for (const attempt of sent) await fails(attempt, "connection_refused", 502);
  assertEquals(bench.of(peer), { open: 0, idle: 0, waiting: 0 });
});

Deno.test("ConnectionPool keeps no more than maxIdle connections", async () => {
  using bench = new Bench({ maxIdle: 2 });
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const sent = Array.from({ length: 5 }, () => bench.send(peer));
  await upstream.untilOpened(5);
  for (let index = 0; index < 5; index++) await answer(index);
  await Promise.all(sent);
  assertEquals(bench.of(peer), { open: 2, idle: 2, waiting: 0 });
  await upstream.untilOpen(2);
});

Deno.test("ConnectionPool closes a connection that was idle for idleTimeoutMs, 4 s unless told otherwise", async () => {
  using bench = new Bench();
  await using upstream = numberedUpstream();
  const peer = peerOf(upstream.address);
  await Promise.all([bench.send(peer), bench.send(peer)]);
  await bench.clock.advance(3000);
  await bench.send(peer);
  await bench.clock.advance(1500);
  await upstream.untilOpen(1);
  assertEquals(bench.of(peer), { open: 1, idle: 1, waiting: 0 });
  await bench.clock.advance(2600);
  await upstream.untilOpen(0);
  assertEquals(bench.of(peer), { open: 0, idle: 0, waiting: 0 });
});

for (const stray of ["", "x", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"]) {
  const what = stray === "" ? "closes" : `sends ${JSON.stringify(stray)} on`;
  Deno.test(`ConnectionPool notices that the server ${what} an idle connection`, async () => {
    using bench = new Bench();
    const go = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (connection, index) => {
      await connection.readRequest();
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${index}`);
      if (index > 0) return await connection.untilClosed();
      await go.promise;
      await connection.write(stray);
      if (stray !== "") await connection.untilClosed();
    });
    const peer = peerOf(upstream.address);
    assertEquals(await bench.send(peer), "0");
    assertEquals(bench.of(peer).idle, 1);
    go.resolve();
    await upstream.untilOpen(0);
    while (bench.of(peer).open > 0) await new Promise((resolve) => setTimeout(resolve));
    assertEquals(await bench.send(peer), "1");
  });
}

Deno.test("ConnectionPool opens 64 connections for 10,000 requests that are 64 at a time", async () => {
  using bench = new Bench();
  await using upstream = numberedUpstream();
  const peer = peerOf(upstream.address);
  let left = 10_000;
  await Promise.all(Array.from({ length: 64 }, async () => {
    while (left-- > 0) await bench.send(peer);
  }));
  assert(upstream.opened <= 64, `${upstream.opened} connections`);
  assertEquals(bench.of(peer), { open: upstream.opened, idle: upstream.opened, waiting: 0 });
});
