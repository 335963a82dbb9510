/** What the client of HTTP/2 does where connections are shared; servers are frames that a test writes. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { Cancellation, DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { type Clock, systemClock } from "../../../../lib/core/clock.ts";
import { ClientGoneError, UpstreamError } from "../../../../lib/core/errors.ts";
import { HeaderFields } from "../../../../lib/http/header_fields.ts";
import { KeptBody } from "../../../../lib/proxy/kept_body.ts";
import { StreamBody } from "../../../../lib/http/message.ts";
import { CODE, FLAG, FRAME, SETTING } from "../../../../lib/http2/frame_type.ts";
import { Http2Transport } from "../../../../lib/transport/http2/http2_transport.ts";
import {
  type OutgoingRequest,
  sendRequest,
  type ServerResponse,
} from "../../../../lib/transport/transport.ts";
import { blackHole } from "../../../support/black_hole.ts";
import { frame } from "../../../support/http2_pair.ts";
import { latin1Bytes } from "../../../support/raw_connection.ts";
import { block, maxStreams, RawHttp2, rawHttp2Upstream, textOf, uint32 } from "../../../support/raw_http2.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";
import { bytesBody, ManualBody, streamBody, streamOf } from "../../../support/request_body.ts";
import { Bench, bodyText, maySendAgain, nowhere, peerOf } from "../behaviour.ts";
import type { TestedTransport } from "../tested_transports.ts";

/** Without a bridge: the servers speak HTTP/2 themselves. */
function benchOf(
  create: TestedTransport["create"] = (wheel) => new Http2Transport({ wheel, clock: systemClock }),
) {
  return new Bench({ name: "h2", cannot: new Set(), create });
}

const HEADERS_END = FLAG.END_HEADERS | FLAG.END_STREAM;
const FOREVER = { connectMs: 20_000, tlsMs: 20_000, responseMs: 20_000, idleMs: 20_000, totalMs: 60_000 };

/** Sends a request and gives the response itself. */
function sendRaw(
  bench: Bench,
  address: string,
  request: Partial<OutgoingRequest> = {},
  connected: () => void = () => {},
): Promise<ServerResponse> {
  const headers = new HeaderFields([["host", "test.example"]]);
  const { method = "GET", body = null } = request;
  return sendRequest(bench.transport, { method, target: "/", headers, body, ...request }, peers(address), {
    timeouts: FOREVER,
    cancellation: new Cancellation(),
    connected,
    maySendAgain: (failure) => maySendAgain(failure, method, body),
  });
}

const PEERS = new Map<string, ReturnType<typeof peerOf>>();

function peers(address: string) {
  let peer = PEERS.get(address);
  if (peer === undefined) PEERS.set(address, peer = peerOf(address));
  return peer;
}

async function readAll({ body }: ServerResponse): Promise<string> {
  let text = "";
  if (body === null) return text;
  for (let piece = await body.read(); piece !== null; piece = await body.read()) {
    text += new TextDecoder().decode(piece);
  }
  return text;
}

Deno.test("h2: requests at the same time share a connection", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream((http2, index) => http2.serve(String(index)));
  const peer = peerOf(upstream.address);
  const texts = await Promise.all(Array.from({ length: 50 }, () => bench.send(peer).then(bodyText)));
  assertEquals(texts.sort(), Array.from({ length: 50 }, (_, i) => `0:${2 * i + 1}`).sort());
  assertEquals(upstream.opened, 1);
});

Deno.test("h2: a server's limit of streams is kept, and makes more connections", async () => {
  using bench = benchOf();
  const most: number[] = [];
  const allIn = Promise.withResolvers<void>();
  let requests = 0;
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    most[index] = 0;
    for (;;) {
      const id = await http2.request();
      most[index]!++;
      if (++requests === 6) allIn.resolve();
      allIn.promise.then(() => http2.respond(id, "ok"));
    }
  }, maxStreams(2));
  const peer = peerOf(upstream.address);
  const texts = await Promise.all(Array.from({ length: 6 }, () => bench.send(peer).then(bodyText)));
  assertEquals(texts, new Array(6).fill("ok"));
  assertEquals([upstream.opened, most], [3, [2, 2, 2]]);
});

Deno.test("h2: a stream that was reset counts for the server until it has read that", async () => {
  using bench = benchOf();
  const asked = Promise.withResolvers<void>();
  const heard = Promise.withResolvers<void>();
  const frames: [number, number][] = [];
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    if (index > 0) return await http2.serve("another");
    await http2.respond(await http2.request(), "ok");
    await http2.request();
    await http2.request();
    asked.resolve();
    await http2.until(FRAME.RST_STREAM);
    const { payload } = await http2.until(FRAME.PING);
    await heard.promise;
    await http2.write(FRAME.PING, FLAG.ACK, 0, payload);
    for (;;) {
      const { type, id } = await http2.read();
      if (type !== FRAME.HEADERS) continue;
      frames.push([type, id]);
      await http2.respond(id, "first");
    }
  }, maxStreams(2));
  const peer = peerOf(upstream.address);
  assertEquals(await bodyText(await bench.send(peer)), "ok");
  const cancellation = new Cancellation();
  const kept = new Cancellation();
  const sending = [bench.send(peer, { cancellation }), bench.send(peer, { cancellation: kept })];
  await asked.promise;
  cancellation.cancel(new ClientGoneError());
  await assertRejects(() => sending[0]!, ClientGoneError);
  // There is room for one as far as the client knows, and the server may not know yet.
  assertEquals(await bodyText(await bench.send(peer)), "another:1");
  assertEquals(frames, []);
  heard.resolve();
  let text = "";
  for (let i = 0; i < 1000 && text !== "first"; i++) text = await bodyText(await bench.send(peer));
  assertEquals([frames[0], upstream.opened], [[FRAME.HEADERS, 7], 2]);
  kept.cancel(new ClientGoneError());
  await assertRejects(() => sending[1]!, ClientGoneError);
});

Deno.test("h2: an own limit of streams counts where the server allows more", async () => {
  using bench = benchOf((wheel) =>
    new Http2Transport({ wheel, clock: systemClock, connections: { maxStreams: 3 } })
  );
  await using upstream = rawHttp2Upstream((http2, index) => http2.serve(String(index)));
  const peer = peerOf(upstream.address);
  await Promise.all(Array.from({ length: 9 }, () => bench.send(peer).then(bodyText)));
  assertEquals(upstream.opened, 3);
});

Deno.test("h2: a server that allows no stream is not asked without end", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream((http2) => http2.connection.untilClosed(), maxStreams(0));
  await bench.fails(bench.send(peerOf(upstream.address)), "connection_terminated", "unsent");
  assertEquals(upstream.opened, 1);
});

Deno.test("h2: a server that allows no further stream later gets another connection, and only one", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    if (index > 0) return await http2.serve("another");
    const id = await http2.request();
    await http2.write(FRAME.SETTINGS, 0, 0, [0, SETTING.MAX_CONCURRENT_STREAMS, ...uint32(0)]);
    await http2.respond(id, "first");
    await http2.connection.untilClosed();
  });
  const peer = peerOf(upstream.address);
  assertEquals(await bodyText(await bench.send(peer)), "first");
  assertEquals(await bodyText(await bench.send(peer)), "another:1");
  assertEquals(upstream.opened, 2);
});

Deno.test("h2: the end of one request ends no other one that waits for the same connection", async () => {
  using bench = benchOf();
  const late = Promise.withResolvers<void>();
  await using upstream = rawHttp2Upstream(async (http2) => {
    await late.promise;
    await http2.begin();
    await http2.serve("ok");
  }, null);
  const peer = peerOf(upstream.address);
  const short = bench.send(peer, { totalMs: 60 });
  const long = bench.send(peer);
  await bench.fails(short, "connection_timeout", "unsent");
  late.resolve();
  assertEquals(await bodyText(await long), "ok:1");
  assertEquals(upstream.opened, 1);
});

Deno.test("h2: streams above the last of GOAWAY are sent again by any method, the others go on", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    if (index > 0) return await http2.serve(String(index));
    const first = await http2.request();
    await http2.request();
    await http2.goAway(first);
    await http2.respond(first, "0:first");
    await http2.connection.untilClosed();
  });
  const peer = peerOf(upstream.address);
  const send = () => bench.send(peer, { method: "POST", body: bytesBody("x") }).then(bodyText);
  assertEquals(await Promise.all([send(), send()]), ["0:first", "1:1"]);
  assertEquals(upstream.opened, 2);
});

Deno.test("h2: a request that is refused is sent once more by any method, and is unsent after that", async () => {
  using bench = benchOf();
  for (const times of [1, 2]) {
    let seen = 0;
    await using upstream = rawHttp2Upstream(async (http2) => {
      for (;;) {
        const id = await http2.request();
        if (seen++ < times) await http2.write(FRAME.RST_STREAM, 0, id, uint32(CODE.REFUSED_STREAM));
        else await http2.respond(id, "ok");
      }
    });
    const sending = bench.send(peerOf(upstream.address), { method: "POST", body: bytesBody("x") });
    if (times === 1) assertEquals(await bodyText(await sending), "ok");
    else await bench.fails(sending, "connection_terminated", "unsent");
    assertEquals(seen, 2);
  }
});

Deno.test("h2: a stream that a server resets is not sent again, and costs no other request", async () => {
  using bench = benchOf();
  let seen = 0;
  await using upstream = rawHttp2Upstream(async (http2) => {
    for (;;) {
      const id = await http2.request();
      if (seen++ === 0) await http2.write(FRAME.RST_STREAM, 0, id, uint32(CODE.INTERNAL_ERROR));
      else await http2.respond(id, "ok");
    }
  });
  const peer = peerOf(upstream.address);
  const error = await bench.fails(bench.send(peer), "connection_terminated", "sent");
  assertEquals([error.reused, error.message.includes("INTERNAL_ERROR"), seen], [false, true, 1]);
  assertEquals(await bodyText(await bench.send(peer)), "ok");
  assertEquals(upstream.opened, 1);
});

Deno.test("h2: a kept connection that breaks costs no request that may be repeated, and no POST is seen twice", async () => {
  for (const method of ["GET", "POST"]) {
    using bench = benchOf();
    const seen: number[] = [];
    await using upstream = rawHttp2Upstream(async (http2, index) => {
      await http2.respond(await http2.request(), "first");
      seen.push(index);
      await http2.request();
      seen.push(index);
      if (index > 0) await http2.connection.untilClosed();
    });
    const peer = peerOf(upstream.address);
    const send = () =>
      bench.send(peer, { method, body: method === "POST" ? bytesBody("x") : null }).then(bodyText);
    assertEquals(await send(), "first");
    if (method === "GET") assertEquals([await send(), seen], ["first", [0, 0, 1]]);
    else {
      const error = await bench.fails(send(), "connection_terminated", "sent");
      assertEquals([error.reused, seen], [true, [0, 0]]);
    }
  }
});

Deno.test("h2: many requests on a connection that breaks: each is repeated, or told of it", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    if (index > 0) return await http2.serve("next");
    await http2.respond(await http2.request(), "first");
    for (let i = 0; i < 40; i++) await http2.request();
  });
  const peer = peerOf(upstream.address);
  await bodyText(await bench.send(peer));
  const outcomes = await Promise.all(Array.from({ length: 40 }, (_, i) => {
    const method = i % 2 === 0 ? "GET" : "POST";
    const body = method === "POST" ? bytesBody("x") : null;
    return bench.send(peer, { method, body }).then(bodyText).catch((error) => (error as UpstreamError).code);
  }));
  assertEquals(outcomes.filter((_, i) => i % 2 === 0).every((text) => text.startsWith("next:")), true);
  assertEquals(outcomes.filter((_, i) => i % 2 === 1), new Array(20).fill("connection_terminated"));
});

/** Time that a test moves on by hand, and that runs beside. */
function shiftedClock(): Clock & { shift: number } {
  return {
    shift: 0,
    now() {
      return systemClock.now() + this.shift;
    },
    wallTime: () => systemClock.wallTime(),
    setTimer: (callback, delayMs) => systemClock.setTimer(callback, delayMs),
  } as Clock & { shift: number };
}

Deno.test("h2: a silent connection is asked for a sign of life before a request is trusted to it", async () => {
  const clock = shiftedClock();
  using wheel = new DeadlineWheel({ clock, tickMs: 5 });
  using bench = benchOf(() => new Http2Transport({ wheel, clock, connections: { idleTimeoutMs: 600_000 } }));
  const frames: [number, number][] = [];
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    for (;;) {
      const { type, id, flags, payload } = await http2.read();
      if (type === FRAME.HEADERS || (type === FRAME.PING && flags === 0)) frames.push([index, type]);
      // The second time that it is asked it has nothing to say.
      const pings = frames.filter(([, each]) => each === FRAME.PING).length;
      if (type === FRAME.PING && pings < 2) await http2.write(FRAME.PING, FLAG.ACK, 0, payload);
      if (type === FRAME.HEADERS) await http2.respond(id, "ok");
    }
  });
  const peer = peerOf(upstream.address);
  const send = () => bench.send(peer, { method: "POST", body: bytesBody("x") }).then(bodyText);
  assertEquals([await send(), await send()], ["ok", "ok"]);
  clock.shift += 2000;
  assertEquals(await send(), "ok");
  clock.shift += 2000;
  assertEquals(await send(), "ok");
  const { HEADERS, PING } = FRAME;
  assertEquals(frames, [[0, HEADERS], [0, HEADERS], [0, PING], [0, HEADERS], [0, PING], [1, HEADERS]]);
  bench.transport[Symbol.dispose]();
});

/** Sends a request that counts how often it is told that a connection was opened for it. */
function sendCounting(bench: Bench, address: string, request: Partial<OutgoingRequest> = {}) {
  const counted = {
    connected: 0,
    response: sendRaw(bench, address, request, () => void counted.connected++),
  };
  return counted;
}

async function endOf({ response }: { response: Promise<ServerResponse> }): Promise<void> {
  const head = await response;
  await readAll(head);
  head.release();
}

Deno.test("h2: each request that waits for a new connection is told when it is open, one on another is not", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream((http2, index) => http2.serve(String(index)), maxStreams(2));
  const first = [1, 2, 3].map(() => sendCounting(bench, upstream.address));
  await Promise.all(first.map(endOf));
  assertEquals([upstream.opened, first.map(({ connected }) => connected)], [2, [1, 1, 1]]);
  const next = sendCounting(bench, upstream.address);
  await endOf(next);
  assertEquals([upstream.opened, next.connected], [2, 0]);
});

Deno.test("h2: a request that waits for a new connection and gets room on another is told of none", async () => {
  using bench = benchOf();
  const asked = Promise.withResolvers<void>();
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    // The second connection is never open.
    if (index > 0) return await http2.connection.untilClosed();
    await http2.begin(maxStreams(1));
    const id = await http2.request();
    asked.resolve();
    await upstream.untilOpened(2);
    await http2.respond(id, "ok");
    await http2.serve("ok");
  }, null);
  const one = sendCounting(bench, upstream.address);
  await asked.promise;
  const two = sendCounting(bench, upstream.address);
  await Promise.all([one, two].map(endOf));
  assertEquals([upstream.opened, one.connected, two.connected], [2, 1, 0]);
});

Deno.test("h2: a request that waits for a sign of life is told of no new connection", async () => {
  const clock = shiftedClock();
  using wheel = new DeadlineWheel({ clock, tickMs: 5 });
  using bench = benchOf(() => new Http2Transport({ wheel, clock, connections: { idleTimeoutMs: 600_000 } }));
  await using upstream = rawHttp2Upstream((http2) => http2.serve("ok"));
  await endOf(sendCounting(bench, upstream.address));
  clock.shift += 2000;
  const checked = sendCounting(bench, upstream.address);
  await endOf(checked);
  assertEquals([upstream.opened, checked.connected], [1, 0]);
  bench.transport[Symbol.dispose]();
});

Deno.test("h2: a WebSocket by HTTP/1.1 is told of its own connection, which counts", async () => {
  using bench = benchOf();
  await using upstream = rawUpstream(async (connection, index) => {
    if (index === 0) await new RawHttp2(connection).begin();
    else {
      await connection.readHead();
      await connection.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
      );
    }
    await connection.untilClosed();
  });
  const headers = new HeaderFields([
    ["host", "h"],
    ["upgrade", "websocket"],
    ["connection", "upgrade"],
    ["sec-websocket-version", "13"],
    ["sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="],
  ]);
  const counted = sendCounting(bench, upstream.address, { headers, upgrade: true });
  const { status, tunnel } = await counted.response;
  const transport = bench.transport as Http2Transport;
  const peer = peers(upstream.address);
  assertEquals([status, counted.connected], [101, 1]);
  assertEquals(transport.connectionsOf(peer), { open: 2, idle: 1 });
  tunnel![Symbol.dispose]();
  assertEquals(transport.connectionsOf(peer), { open: 1, idle: 1 });
  assertEquals(upstream.errors, []);
});

Deno.test("h2: a server that goes silent is trusted with no further request", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    if (index > 0) return await http2.serve("next");
    await http2.respond(await http2.request(), "first");
    await http2.connection.untilClosed();
  });
  const peer = peerOf(upstream.address);
  assertEquals(await bodyText(await bench.send(peer)), "first");
  await bench.fails(bench.send(peer, { responseMs: 60 }), "http_response_timeout", "sent");
  assertEquals(await bodyText(await bench.send(peer)), "next:1");
});

Deno.test("h2: a response that is late costs no other request on its connection", async () => {
  using bench = benchOf();
  const late = Promise.withResolvers<void>();
  const codes: number[] = [];
  await using upstream = rawHttp2Upstream(async (http2) => {
    await http2.request();
    const other = await http2.request();
    await http2.write(FRAME.PING, 0, 0, new Uint8Array(8));
    const reset = await http2.until(FRAME.RST_STREAM);
    codes.push(reset.id, reset.payload[3]!);
    late.resolve();
    await http2.respond(other, "other");
    await http2.connection.untilClosed();
  });
  const peer = peerOf(upstream.address);
  const slow = bench.send(peer, { responseMs: 200 });
  const other = bench.send(peer);
  await bench.fails(slow, "http_response_timeout", "sent");
  await late.promise;
  assertEquals(await bodyText(await other), "other");
  assertEquals([upstream.opened, codes], [1, [1, CODE.CANCEL]]);
});

Deno.test("h2: who is called off resets its stream, and the connection serves others", async () => {
  using bench = benchOf();
  const asked = Promise.withResolvers<void>();
  await using upstream = rawHttp2Upstream(async (http2) => {
    const id = await http2.request();
    asked.resolve();
    const reset = await http2.until(FRAME.RST_STREAM);
    assertEquals([reset.id, reset.payload[3]], [id, CODE.CANCEL]);
    await http2.serve("next");
  });
  const peer = peerOf(upstream.address);
  const cancellation = new Cancellation();
  const sending = bench.send(peer, { cancellation });
  await asked.promise;
  cancellation.cancel(new ClientGoneError());
  await assertRejects(() => sending, ClientGoneError);
  assertEquals(await bodyText(await bench.send(peer)), "next:3");
  assertEquals([upstream.opened, upstream.errors], [1, []]);
});

Deno.test("h2: a connection on which a hundred streams were reset takes no further ones", async () => {
  using bench = benchOf();
  const resets: number[] = [];
  const asked = Promise.withResolvers<void>();
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    if (index > 0) return await http2.serve("next");
    await http2.request();
    asked.resolve();
    for (;;) {
      await http2.until(FRAME.RST_STREAM);
      resets.push(index);
    }
  });
  const peer = peerOf(upstream.address);
  for (let i = 0; i < 100; i++) {
    const cancellation = new Cancellation();
    const sending = bench.send(peer, { cancellation });
    // Before the connection is open, no stream is reset.
    if (i === 0) await asked.promise;
    else await Promise.resolve();
    setTimeout(() => cancellation.cancel(new ClientGoneError()));
    await assertRejects(() => sending, ClientGoneError);
  }
  assertEquals(await bodyText(await bench.send(peer)).then((text) => text.startsWith("next:")), true);
});

Deno.test("h2: trailers pass both ways", async () => {
  using bench = benchOf();
  let seen: [number, number][] = [];
  await using upstream = rawHttp2Upstream(async (http2) => {
    const id = await http2.request();
    const data = await http2.until(FRAME.DATA);
    const trailers = await http2.until(FRAME.HEADERS);
    seen = [[data.flags, data.payload.length], [trailers.flags, trailers.id]];
    await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, id, [0x88]);
    await http2.write(FRAME.DATA, 0, id, latin1Bytes("ok"));
    await http2.write(FRAME.HEADERS, HEADERS_END, id, block([["grpc-status", "0"], ["x-sum", "9"]]));
    await http2.connection.untilClosed();
  });
  const source = new StreamBody(streamOf([latin1Bytes("abc")]), null);
  Object.defineProperty(source, "trailers", { value: ["x-sum", "8"] });
  const response = await sendRaw(bench, upstream.address, { method: "POST", body: new KeptBody(source) });
  assertEquals([response.status, await readAll(response)], [200, "ok"]);
  assertEquals(response.body!.trailers, ["grpc-status", "0", "x-sum", "9"]);
  assertEquals(seen, [[0, 3], [HEADERS_END, 1]]);
  response.release();
});

Deno.test("h2: a response without content whose head is its end has trailers in its fields", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2) => {
    const id = await http2.request();
    const fields = block([["content-type", "application/grpc"], ["grpc-status", "14"]]);
    await http2.write(FRAME.HEADERS, HEADERS_END, id, [0x88, ...fields]);
    await http2.connection.untilClosed();
  });
  const response = await sendRaw(bench, upstream.address);
  assertEquals([response.body, response.headers.get("grpc-status")], [null, "14"]);
  response.release();
});

Deno.test("h2: interim responses are told of, and 100 lets content go", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2) => {
    const { id } = await http2.until(FRAME.HEADERS);
    const hints = block([[":status", "103"], ["link", "</a>"]]);
    await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, id, hints);
    await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, id, block([[":status", "100"]]));
    const data = await http2.until(FRAME.DATA);
    await http2.respond(id, textOf(data));
    await http2.connection.untilClosed();
  });
  const told: [number, string | null][] = [];
  const request = {
    method: "POST",
    target: "/",
    headers: new HeaderFields([["host", "h"]]),
    body: streamBody(["content"]),
    expectsContinue: true,
  };
  const response = await sendRequest(bench.transport, request, peerOf(upstream.address), {
    timeouts: FOREVER,
    cancellation: new Cancellation(),
    interim: (status, fields) => void told.push([status, fields.get("link")]),
  });
  assertEquals([await readAll(response), told], ["content", [[103, "</a>"]]]);
  response.release();
});

Deno.test("h2: a response stays whole when the server does not want the rest of the request", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2) => {
    const id = await http2.request();
    // All in one piece, so that the reset has come before anybody is told of the response.
    const response = [
      ...frame(FRAME.HEADERS, FLAG.END_HEADERS, id, [0x88]),
      ...frame(FRAME.DATA, FLAG.END_STREAM, id, latin1Bytes("enough")),
    ];
    const reset = frame(FRAME.RST_STREAM, 0, id, uint32(CODE.NO_ERROR));
    await http2.connection.write(Uint8Array.of(...response, ...reset));
    await http2.serve("next");
  });
  const body = new ManualBody();
  const peer = peerOf(upstream.address);
  assertEquals(await bodyText(await bench.send(peer, { method: "POST", body })), "enough");
  await body.cancelled;
  assertEquals(await bodyText(await bench.send(peer)), "next:3");
});

Deno.test("h2: content waits for the windows of the server, and a server that gives none is late", async () => {
  using bench = benchOf();
  let received = 0;
  await using upstream = rawHttp2Upstream(async (http2) => {
    for (;;) {
      const { type, payload } = await http2.read();
      if (type === FRAME.DATA) received += payload.length;
    }
  });
  const body = bytesBody(new Uint8Array(1_000_000));
  const sending = bench.send(peerOf(upstream.address), { method: "POST", body, idleMs: 60 });
  await bench.fails(sending, "http_response_timeout", "sent");
  assertEquals(received, 65_535);
});

Deno.test("h2: whoever does not read keeps nobody else on the connection from being read for", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2) => {
    let window = 65_535;
    for (;;) {
      const { type, id, payload } = await http2.read();
      if (type === FRAME.WINDOW_UPDATE && id === 0) {
        window += new DataView(payload.buffer, payload.byteOffset).getUint32(0);
      }
      if (type !== FRAME.HEADERS) continue;
      await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, id, [0x88]);
      // As much as the window of a stream holds, which is as much as it is told.
      for (let sent = 0; sent < 65_535 - 16_384; sent += 16_384) {
        await http2.write(FRAME.DATA, 0, id, new Uint8Array(16_384));
        window -= 16_384;
      }
      assert(window >= 0);
      if (id >= 179) await http2.write(FRAME.DATA, FLAG.END_STREAM, id, latin1Bytes("end"));
    }
  });
  const all = await Promise.all(Array.from({ length: 90 }, () => sendRaw(bench, upstream.address)));
  const last = await readAll(all.at(-1)!);
  assertEquals([last.length, upstream.opened, upstream.errors], [3 * 16_384 + 3, 1, []]);
  for (const response of all) response.release();
});

Deno.test("h2: a server that accepts and says nothing is no server of HTTP/2: the request is unsent", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream((http2) => http2.connection.untilClosed(), null);
  const sending = bench.send(peerOf(upstream.address), {
    method: "POST",
    body: bytesBody("x"),
    connectMs: 60,
  });
  await bench.fails(sending, "connection_timeout", "unsent");
  await upstream.untilOpen(0);
});

Deno.test("h2: a server of HTTP/1.1 gets no request", async () => {
  using bench = benchOf();
  await using upstream = rawUpstream(async (connection) => {
    await connection.readExactly(24);
    await connection.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    await connection.untilClosed();
  });
  const sending = bench.send(peerOf(upstream.address), { method: "POST", body: bytesBody("x") });
  await bench.fails(sending, "http_protocol_error", "unsent");
});

Deno.test("h2: who waits for a connection is told of its own end: called off, or out of time", async () => {
  using hole = await blackHole();
  // Nothing to test where the kernel accepts without end.
  if (hole === null) return;
  using bench = benchOf();
  const peer = nowhere(hole.address);
  const cancellation = new Cancellation();
  const calledOff = bench.send(peer, { cancellation });
  const late = bench.send(peer, { totalMs: 60 });
  await bench.fails(late, "connection_timeout", "unsent");
  cancellation.cancel(new ClientGoneError());
  await assertRejects(() => calledOff, ClientGoneError);
});

Deno.test("h2: a request right behind one that was called off gets a connection of its own", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream((http2) => http2.serve("ok"));
  const cancellation = new Cancellation();
  const peer = peerOf(upstream.address);
  const calledOff = bench.send(peer, { cancellation });
  cancellation.cancel(new ClientGoneError());
  const next = bench.send(peer);
  await assertRejects(() => calledOff, ClientGoneError);
  assertEquals(await bodyText(await next), "ok:1");
});

Deno.test("h2: a header of the PROXY protocol stands in front, and a connection serves one client", async () => {
  using bench = benchOf();
  const heads: string[] = [];
  await using upstream = rawUpstream(async (connection, index) => {
    heads.push((await connection.readUntil("\r\n"))!.trim());
    const http2 = new RawHttp2(connection);
    await http2.begin();
    await http2.serve(String(index));
  });
  const peer = { ...peerOf(upstream.address), sendProxyProtocol: 1 as const };
  const texts: string[] = [];
  for (const port of [1001, 1002, 1001, 1001]) {
    const addresses = { ip: "192.0.2.1", port, localIp: "192.0.2.2", localPort: 80 };
    const headers = new HeaderFields([["host", "h"]]);
    const request = { method: "GET", target: "/", headers, body: null, addresses };
    const options = { timeouts: FOREVER, cancellation: new Cancellation() };
    const response = await sendRequest(bench.transport, request, peer, options);
    texts.push(await readAll(response));
    response.release();
  }
  assertEquals(texts, ["0:1", "1:1", "0:3", "0:5"]);
  assertEquals(heads, ["PROXY TCP4 192.0.2.1 192.0.2.2 1001 80", "PROXY TCP4 192.0.2.1 192.0.2.2 1002 80"]);
});

Deno.test("h2: requests that cannot be written cost nothing but themselves", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream((http2) => http2.serve("0"));
  const peer = peerOf(upstream.address);
  assertEquals(await bodyText(await bench.send(peer)), "0:1");
  const bad = [{ method: "CONNECT" }, { headers: [] }, { headers: [["host", "a"], ["host", "b"]] }, {
    target: "/ b",
  }];
  for (const input of bad) {
    await bench.fails(bench.send(peer, input as { method: string }), "http_request_error", "unsent");
  }
  assertEquals(await bodyText(await bench.send(peer)), "0:3");
});

Deno.test("h2: bytes above ASCII in a target pass as they are", async () => {
  using bench = benchOf();
  const paths: string[] = [];
  await using upstream = rawHttp2Upstream(async (http2) => {
    for (;;) {
      const { id, payload } = await http2.until(FRAME.HEADERS);
      paths.push(textOf({ payload } as Parameters<typeof textOf>[0]));
      await http2.respond(id, "ok");
    }
  });
  await bodyText(await bench.send(peerOf(upstream.address), { target: "/\u00e9\u{1f600}" }));
  assert(paths[0]!.includes("/\xc3\xa9\xf0\x9f\x98\x80"), paths[0]);
});

/** What a server does to a request, and what has to become of it. */
interface Attack {
  readonly name: string;
  /** Whether only the stream is lost. @default {the whole connection} */
  readonly stream?: boolean;
  readonly code?: "http_protocol_error" | "http_response_incomplete";
  attack(http2: RawHttp2, id: number): Promise<void>;
}

const { DATA, HEADERS, CONTINUATION, PUSH_PROMISE, PING, SETTINGS, WINDOW_UPDATE, RST_STREAM } = FRAME;

async function flood(http2: RawHttp2, count: number, ...parts: Parameters<RawHttp2["write"]>): Promise<void> {
  for (let i = 0; i < count; i++) await http2.write(...parts);
}

const ATTACKS: readonly Attack[] = [
  { name: "DATA on a stream that there is not", attack: (http2) => http2.write(DATA, 0, 99, [1]) },
  {
    name: "HEADERS on a stream that there is not",
    attack: (http2) => http2.write(HEADERS, HEADERS_END, 99, [0x88]),
  },
  { name: "a stream of its own", attack: (http2) => http2.write(HEADERS, HEADERS_END, 2, [0x88]) },
  {
    name: "RST_STREAM on a stream that there is not",
    attack: (http2) => http2.write(RST_STREAM, 0, 99, uint32(8)),
  },
  {
    name: "WINDOW_UPDATE on a stream that there is not",
    attack: (http2) => http2.write(WINDOW_UPDATE, 0, 99, uint32(8)),
  },
  {
    name: "a push",
    attack: (http2, id) => http2.write(PUSH_PROMISE, FLAG.END_HEADERS, id, [0, 0, 0, 2, 0x82]),
  },
  {
    name: "a frame that is too large",
    attack: (http2, id) => http2.write(DATA, 0, id, new Uint8Array(16_385)),
  },
  { name: "a flood of SETTINGS", attack: (http2) => flood(http2, 5000, SETTINGS, 0, 0) },
  { name: "a flood of PING", attack: (http2) => flood(http2, 5000, PING, 0, 0, new Uint8Array(8)) },
  {
    name: "a flood of empty DATA",
    attack: async (http2, id) => {
      await http2.write(HEADERS, FLAG.END_HEADERS, id, [0x88]);
      await flood(http2, 5000, DATA, 0, id);
    },
    code: "http_response_incomplete",
  },
  {
    name: "a flood of CONTINUATION",
    attack: async (http2, id) => {
      await http2.write(HEADERS, 0, id, [0x88]);
      await flood(http2, 5000, CONTINUATION, 0, id, [0x88]);
    },
  },
  { name: "a flood of unknown frames", attack: (http2) => flood(http2, 5000, 77, 0, 0) },
  {
    name: "a field block that is no HPACK",
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, [0xff, 0xff, 0xff, 0xff]),
  },
  {
    name: "a frame within a field block",
    attack: async (http2, id) => {
      await http2.write(HEADERS, 0, id, [0x88]);
      await http2.write(PING, 0, 0, new Uint8Array(8));
    },
  },
  {
    name: "more than the window of the connection allows",
    attack: async (http2) => {
      await http2.write(WINDOW_UPDATE, 0, 0, uint32(0x7fff_ffff));
    },
  },
  {
    name: "a window that is too large by SETTINGS",
    attack: (http2) => http2.write(SETTINGS, 0, 0, [0, SETTING.INITIAL_WINDOW_SIZE, ...uint32(0x8000_0000)]),
  },
  {
    name: "a GOAWAY on a stream",
    attack: (http2, id) => http2.write(FRAME.GOAWAY, 0, id, new Uint8Array(8)),
  },
  { name: "DATA before the head", stream: true, attack: (http2, id) => http2.write(DATA, 0, id, [1]) },
  {
    name: "a head without a status",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, block([["x", "y"]])),
  },
  {
    name: "a status that is none",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, block([[":status", "20"]])),
  },
  {
    name: "a status of 101",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, FLAG.END_HEADERS, id, block([[":status", "101"]])),
  },
  {
    name: "an interim response at the end",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, block([[":status", "103"]])),
  },
  {
    name: "interim responses without end",
    stream: true,
    attack: (http2, id) => flood(http2, 17, HEADERS, FLAG.END_HEADERS, id, block([[":status", "103"]])),
  },
  {
    name: "a field of requests",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, [0x88, ...block([[":path", "/"]])]),
  },
  {
    name: "a status twice",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, [0x88, 0x88]),
  },
  {
    name: "a name in capitals",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, [0x88, ...block([["X", "y"]])]),
  },
  {
    name: "a line end in a value",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, [0x88, ...block([["x", "y\r\nz: a"]])]),
  },
  {
    name: "a field of the connection",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, [0x88, ...block([["connection", "close"]])]),
  },
  {
    name: "Transfer-Encoding",
    stream: true,
    attack: (http2, id) =>
      http2.write(HEADERS, HEADERS_END, id, [0x88, ...block([["transfer-encoding", "chunked"]])]),
  },
  {
    name: "two lengths",
    stream: true,
    attack: (http2, id) =>
      http2.write(HEADERS, HEADERS_END, id, [
        0x88,
        ...block([["content-length", "0"], ["content-length", "0"]]),
      ]),
  },
  {
    name: "a length without content",
    stream: true,
    attack: (http2, id) => http2.write(HEADERS, HEADERS_END, id, [0x88, ...block([["content-length", "5"]])]),
  },
  {
    name: "201 fields",
    stream: true,
    attack: (http2, id) =>
      http2.write(HEADERS, HEADERS_END, id, [0x88, ...block(new Array(201).fill(["x", "y"]))]),
  },
  {
    name: "a head of 64 KiB by reference",
    stream: true,
    attack: (http2, id) =>
      http2.write(HEADERS, HEADERS_END, id, [
        0x88,
        // One field of 3 KiB into the table, and 40 times the same out of it.
        0x40,
        1,
        0x78,
        0x7f,
        ...[0x81, 0x17],
        ...new Uint8Array(3072).fill(0x61),
        ...new Array(40).fill(0xbe),
      ]),
  },
  {
    name: "less content than its length",
    stream: true,
    code: "http_response_incomplete",
    attack: async (http2, id) => {
      await http2.write(HEADERS, FLAG.END_HEADERS, id, [0x88, ...block([["content-length", "5"]])]);
      await http2.write(DATA, FLAG.END_STREAM, id, [1]);
    },
  },
  {
    name: "more content than its length",
    stream: true,
    code: "http_response_incomplete",
    attack: async (http2, id) => {
      await http2.write(HEADERS, FLAG.END_HEADERS, id, [0x88, ...block([["content-length", "5"]])]);
      await http2.write(DATA, FLAG.END_STREAM, id, [1, 2, 3, 4, 5, 6]);
    },
  },
  {
    name: "pseudo fields in trailers",
    stream: true,
    code: "http_response_incomplete",
    attack: async (http2, id) => {
      await http2.write(HEADERS, FLAG.END_HEADERS, id, [0x88]);
      await http2.write(HEADERS, HEADERS_END, id, [0x88]);
    },
  },
];

for (const { name, stream = false, code = "http_protocol_error", attack } of ATTACKS) {
  Deno.test(`h2: a server that sends what it must not: ${name}`, async () => {
    using bench = benchOf();
    await using upstream = rawHttp2Upstream(async (http2, index) => {
      const id = await http2.request();
      if (index === 0) await attack(http2, id).catch(() => {});
      else await http2.respond(id, "next");
      await http2.serve("next");
    });
    const peer = peerOf(upstream.address);
    const outcome = await bench.send(peer).then(bodyText).catch((error) => error);
    assert(outcome instanceof UpstreamError, `${outcome}`);
    assertEquals(outcome.status, 502);
    const allowed = ["http_protocol_error", code];
    assert(allowed.includes(outcome.code), `${outcome.code}: ${outcome.message}`);
    // A connection that has seen such a thing serves nobody any more; a stream is one request's own affair.
    assert((await bodyText(await bench.send(peer))).startsWith("next"));
    assertEquals(upstream.opened, stream ? 1 : 2);
  });
}

// Nothing of the content is read before the server has gone too far: whoever reads gives it room.
Deno.test("h2: a server that sends what it must not: more than the window of a stream allows", async () => {
  using bench = benchOf();
  const reset = Promise.withResolvers<void>();
  await using upstream = rawHttp2Upstream(async (http2) => {
    const id = await http2.request();
    await http2.write(HEADERS, FLAG.END_HEADERS, id, [0x88]);
    for (let i = 0; i < 17; i++) await http2.write(DATA, 0, id, new Uint8Array(16_384));
    assertEquals((await http2.until(FRAME.RST_STREAM)).id, id);
    reset.resolve();
    await http2.serve("next");
  });
  const response = await sendRaw(bench, upstream.address);
  await reset.promise;
  const { status, code } = await assertRejects(() => readAll(response), UpstreamError);
  assertEquals([status, code], [502, "http_protocol_error"]);
  assert((await bodyText(await bench.send(peers(upstream.address)))).startsWith("next"));
  assertEquals(upstream.opened, 1);
});

Deno.test("h2: DATA behind the end of a response costs the connection, and not the response", async () => {
  using bench = benchOf();
  await using upstream = rawHttp2Upstream(async (http2, index) => {
    const id = await http2.request();
    await http2.respond(id, "whole");
    if (index === 0) await http2.write(DATA, FLAG.END_STREAM, id, latin1Bytes("more"));
    await http2.serve("next");
  });
  const peer = peerOf(upstream.address);
  assertEquals(await bodyText(await bench.send(peer)), "whole");
  await upstream.untilOpen(0);
  assertEquals(await bodyText(await bench.send(peer)), "whole");
  assertEquals(upstream.opened, 2);
});

Deno.test("h2: no more connections without a request are kept than may be", async () => {
  using bench = benchOf((wheel) =>
    new Http2Transport({ wheel, clock: systemClock, connections: { maxStreams: 1, maxIdle: 2 } })
  );
  const allIn = Promise.withResolvers<void>();
  let requests = 0;
  await using upstream = rawHttp2Upstream(async (http2) => {
    const id = await http2.request();
    if (++requests === 5) allIn.resolve();
    await allIn.promise;
    await http2.respond(id, "ok");
    await http2.connection.untilClosed();
  });
  const peer = peerOf(upstream.address);
  await Promise.all(Array.from({ length: 5 }, () => bench.send(peer).then(bodyText)));
  await upstream.untilOpen(2);
  assertEquals((bench.transport as Http2Transport).connectionsOf(peer), { open: 2, idle: 2 });
});

Deno.test("h2: no more are kept of all clients, each of which has its own by the PROXY protocol", async () => {
  using bench = benchOf((wheel) =>
    new Http2Transport({ wheel, clock: systemClock, connections: { maxIdle: 2, idleTimeoutMs: 600_000 } })
  );
  await using upstream = rawUpstream(async (connection) => {
    await connection.readUntil("\r\n");
    const http2 = new RawHttp2(connection);
    await http2.begin();
    await http2.serve("ok");
  });
  const peer = { ...peerOf(upstream.address), sendProxyProtocol: 1 as const };
  for (const port of [1001, 1002, 1003, 1004]) {
    const addresses = { ip: "192.0.2.1", port, localIp: "192.0.2.2", localPort: 80 };
    const headers = new HeaderFields([["host", "h"]]);
    const request = { method: "GET", target: "/", headers, body: null, addresses };
    const options = { timeouts: FOREVER, cancellation: new Cancellation() };
    const response = await sendRequest(bench.transport, request, peer, options);
    await readAll(response);
    response.release();
  }
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals((bench.transport as Http2Transport).connectionsOf(peer), { open: 2, idle: 2 });
  await upstream.untilOpen(2);
  assertEquals(upstream.opened, 4);
});

Deno.test("h2: connections without a request are closed after their time, with a word", async () => {
  using bench = benchOf((wheel) =>
    new Http2Transport({ wheel, clock: systemClock, connections: { idleTimeoutMs: 30 } })
  );
  const last: number[] = [];
  await using upstream = rawHttp2Upstream(async (http2) => {
    await http2.respond(await http2.request(), "ok");
    last.push((await http2.until(FRAME.GOAWAY)).type);
    await http2.connection.untilClosed();
  });
  const peer = peerOf(upstream.address);
  assertEquals(await bodyText(await bench.send(peer)), "ok");
  await upstream.untilOpen(0);
  assertEquals([last, (bench.transport as Http2Transport).connectionsOf(peer)], [[FRAME.GOAWAY], {
    open: 0,
    idle: 0,
  }]);
});

Deno.test("h2: whatever frames a server sends, a request ends, and others are served once the connection has", async () => {
  const frames = fc.array(
    fc.tuple(
      fc.integer({ min: 0, max: 10 }),
      fc.constantFrom(0, 1, 4, 5, 8, 0x20, 0x2d),
      fc.constantFrom(0, 1, 1, 1, 2, 3),
      fc.uint8Array({ maxLength: 40 }),
    ),
    { maxLength: 12 },
  );
  await fc.assert(
    fc.asyncProperty(frames, async (sent) => {
      using bench = benchOf();
      let asked = 0;
      await using upstream = rawHttp2Upstream(async (http2) => {
        for (;;) {
          const next = await http2.read();
          if (next.type !== FRAME.HEADERS) continue;
          if (asked++ > 0) await http2.respond(next.id, "next");
          else {for (const [type, flags, id, payload] of sent) {
              await http2.write(type, flags, id === 1 ? next.id : id, payload);
            }}
        }
      });
      const peer = peerOf(upstream.address);
      const send = (timeouts: { responseMs?: number; idleMs?: number } = {}) =>
        bench.send(peer, timeouts).then(bodyText).catch((error) => {
          assert(error instanceof UpstreamError, `${error}`);
          return null;
        });
      // A response that such frames make is as good as any; what never ends is late. A connection can break once.
      await send({ responseMs: 50, idleMs: 50 });
      assertEquals(await send() ?? await send(), "next");
    }),
    { numRuns: 40 },
  );
});
