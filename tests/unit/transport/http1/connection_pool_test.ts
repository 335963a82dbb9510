import { assert, assertEquals, assertRejects } from "@std/assert";
import { Cancellation, DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { ClientGoneError, UpstreamError } from "../../../../lib/core/errors.ts";
import { HeaderFields } from "../../../../lib/http/header_fields.ts";
import type { RequestBody } from "../../../../lib/http/message.ts";
import { type ConnectionLimits, Http1Transport } from "../../../../lib/transport/http1/http1_transport.ts";
import { sendRequest } from "../../../../lib/transport/transport.ts";
import type { Peer } from "../../../../lib/upstream/peer.ts";
import { blackHole } from "../../../support/black_hole.ts";
import { deadPort } from "../../../support/dead_port.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { latin1Text } from "../../../support/raw_connection.ts";
import { type RawUpstream, rawUpstream } from "../../../support/raw_upstream.ts";
import { bytesBody, streamBody } from "../../../support/request_body.ts";
import { bodyText, peerOf, takeResponse } from "../behaviour.ts";

const MINUTE = 60_000;

interface SendInput {
  totalMs?: number;
  cancellation?: Cancellation;
  body?: RequestBody | null;
}

/** A transport whose time stands still, so that limits of time apply when the test says so. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly wheel = new DeadlineWheel({ clock: this.clock, tickMs: 5 });
  readonly transport: Http1Transport;

  constructor(connections: ConnectionLimits = {}) {
    this.transport = new Http1Transport({ clock: this.clock, wheel: this.wheel, connections });
  }

  /** The text of an answer; a failure is not unhandled when a test looks at it late. */
  send(peer: Peer, input: SendInput = {}): Promise<string> {
    const { totalMs = Infinity, cancellation = new Cancellation(), body = null } = input;
    const headers = new HeaderFields([["host", "h"]]);
    const timeouts = { connectMs: MINUTE, tlsMs: MINUTE, responseMs: MINUTE, idleMs: MINUTE, totalMs };
    const request = { method: body === null ? "GET" : "PUT", target: "/", headers, body };
    const maySendAgain = () => body === null || body.repeatable;
    const response = sendRequest(this.transport, request, peer, { timeouts, cancellation, maySendAgain });
    const text = response.then((head) => bodyText(takeResponse(head)));
    text.catch(() => {});
    return text;
  }

  /** What the transport knows of its connections. */
  of(peer: Peer): { open: number; idle: number } {
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
  assertEquals(bench.of(peer), { open: 3, idle: 3 });
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

Deno.test("ConnectionPool opens a connection for each request that finds none idle", async () => {
  using bench = new Bench();
  const { upstream, answer } = gatedUpstream();
  await using _upstream = upstream;
  const peer = peerOf(upstream.address);
  const sent = Array.from({ length: 6 }, () => bench.send(peer));
  assertEquals(bench.of(peer), { open: 6, idle: 0 });
  await upstream.untilOpened(6);
  for (let index = 0; index < 6; index++) await answer(index);
  assertEquals((await Promise.all(sent)).toSorted(), ["0", "1", "2", "3", "4", "5"]);
  assertEquals([upstream.opened, bench.of(peer)], [6, { open: 6, idle: 6 }]);
});

Deno.test("ConnectionPool sends content from its beginning again when the kept connection was stale", async () => {
  using bench = new Bench();
  const seen: string[] = [];
  // Takes the first piece of the second request on each connection, and breaks then.
  await using upstream = rawUpstream(async (connection) => {
    const request = await connection.readRequest();
    if (request === null) return;
    seen.push(latin1Text(request.body));
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (await connection.readHead() === null) return;
    seen.push(latin1Text((await connection.readChunk())!));
  });
  const peer = peerOf(upstream.address);
  assertEquals(await bench.send(peer, { body: bytesBody("first") }), "ok");
  assertEquals(await bench.send(peer, { body: streamBody(["one ", "two"]) }), "ok");
  assertEquals(seen, ["first", "one ", "one two"]);
  assertEquals(upstream.opened, 2);
});

Deno.test("ConnectionPool does not connect for longer than the exchange may take", async () => {
  using bench = new Bench();
  using hole = await blackHole();
  // Nothing to test where the kernel accepts without end.
  if (hole === null) return;
  const peer = peerOf(hole.address);
  const hurried = bench.send(peer, { totalMs: 100 });
  const patient = bench.send(peer);
  await bench.clock.advance(200);
  await fails(hurried, "connection_timeout", 504);
  assertEquals(bench.of(peer), { open: 1, idle: 0 });
  await bench.clock.advance(MINUTE);
  await fails(patient, "connection_timeout", 504);
});

Deno.test("ConnectionPool gives up connecting when the request is called off, and no other request with it", async () => {
  using bench = new Bench();
  using hole = await blackHole();
  if (hole === null) return;
  const peer = peerOf(hole.address);
  const cancellations = [1, 2, 3].map(() => new Cancellation());
  const sent = cancellations.map((cancellation) => bench.send(peer, { cancellation }));
  for (const index of [2, 0]) {
    const reason = new ClientGoneError();
    cancellations[index]!.cancel(reason);
    assertEquals(await assertRejects(() => sent[index]!, ClientGoneError), reason);
  }
  assertEquals(bench.of(peer), { open: 1, idle: 0 });
  cancellations[1]!.cancel(new ClientGoneError());
  await assertRejects(() => sent[1]!, ClientGoneError);
  assertEquals(bench.of(peer), { open: 0, idle: 0 });
});

Deno.test("ConnectionPool counts no connection that could not be made", async () => {
  using bench = new Bench();
  const peer = peerOf(`127.0.0.1:${deadPort()}`);
  const sent = Array.from({ length: 5 }, () => bench.send(peer));
  assertEquals(bench.of(peer), { open: 5, idle: 0 });
  for (const attempt of sent) await fails(attempt, "connection_refused", 502);
  assertEquals(bench.of(peer), { open: 0, idle: 0 });
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
  assertEquals(bench.of(peer), { open: 2, idle: 2 });
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
  assertEquals(bench.of(peer), { open: 1, idle: 1 });
  await bench.clock.advance(2600);
  await upstream.untilOpen(0);
  assertEquals(bench.of(peer), { open: 0, idle: 0 });
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
  assertEquals(bench.of(peer), { open: upstream.opened, idle: upstream.opened });
});

Deno.test("ConnectionPool begins no handshake while 64 hang already", async () => {
  using bench = new Bench();
  // Says nothing, so that no handshake ends; the runtime's cannot be called off.
  await using upstream = rawUpstream((connection) => connection.untilClosed());
  const peer = peerOf(upstream.address, {});
  const hanging = Array.from({ length: 64 }, () => bench.send(peer));
  await upstream.untilOpened(64);
  await bench.clock.advance(2 * MINUTE);
  for (const each of hanging) await fails(each, "tls_handshake_timeout", 504);
  const error = await assertRejects(() => bench.send(peer), UpstreamError, "64 TLS handshakes hang already");
  assertEquals([error.code, error.phase, upstream.opened], ["connection_timeout", "unsent", 64]);
});
