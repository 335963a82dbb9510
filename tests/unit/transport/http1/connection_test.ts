import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { Cancellation, DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { ClientGoneError, ProxyError, UpstreamError } from "../../../../lib/core/errors.ts";
import { HeaderFields } from "../../../../lib/http/header_fields.ts";
import { BufferShelf, LARGE_BUFFER, SMALL_BUFFER } from "../../../../lib/http1/head_writer.ts";
import { Connection, type ConnectionOwner } from "../../../../lib/transport/http1/connection.ts";
import type { OutgoingRequest, ServerResponse } from "../../../../lib/transport/transport.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { latin1Text } from "../../../support/raw_connection.ts";
import { bytesBody, ManualBody, streamBody } from "../../../support/request_body.ts";
import { ScriptedSocket, turns } from "../../../support/scripted_socket.ts";
import { bodyText as textOf, maySendAgain, takeResponse } from "../behaviour.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const TIMEOUTS = { connectMs: 1000, tlsMs: 1000, responseMs: 1000, idleMs: 1000, totalMs: Infinity };

/** A connection on a scripted socket, and what it told its pool. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly wheel = new DeadlineWheel({ clock: this.clock, tickMs: 5 });
  readonly socket = new ScriptedSocket();
  readonly shelf = new BufferShelf();
  readonly told: string[] = [];
  readonly connection: Connection;

  constructor() {
    const owner: ConnectionOwner = {
      released: () => void this.told.push("released"),
      closed: () => void this.told.push("closed"),
      stale: (_, trip) => {
        this.told.push("stale");
        trip.options.failed(new ClientGoneError("stale"));
      },
    };
    this.connection = new Connection({
      socket: this.socket.conn,
      owner,
      clock: this.clock,
      wheel: this.wheel,
      shelf: this.shelf,
    });
  }

  /** Starts an exchange; its failure is not unhandled when a test looks at it late. */
  start(request: Partial<OutgoingRequest> = {}, cancellation = new Cancellation()): Promise<ServerResponse> {
    const headers = new HeaderFields([["host", "h"]]);
    const sent = { method: "GET", target: "/", headers, body: null, ...request };
    const { promise, resolve: responded, reject: failed } = Promise.withResolvers<ServerResponse>();
    promise.catch(() => {});
    const options = {
      timeouts: TIMEOUTS,
      cancellation,
      maySendAgain: (failure: UpstreamError) => maySendAgain(failure, sent.method, sent.body),
      responded,
      failed,
    };
    this.connection.start({ request: sent, options, dueAt: Infinity, retried: false });
    return promise;
  }

  /** One exchange that ends well. */
  async serve(): Promise<void> {
    const response = this.start();
    await turns();
    await this.socket.receive(OK);
    assertEquals(await bodyText(response), "ok");
  }

  [Symbol.dispose](): void {
    this.connection[Symbol.dispose]();
    assertEquals(this.wheel.pending, 0);
    assert(this.socket.closed);
  }
}

/** The whole content; the response is let go then. */
async function bodyText(response: Promise<ServerResponse>): Promise<string> {
  return await textOf(takeResponse(await response));
}

Deno.test("Connection sends the head and the content in memory in one write", async () => {
  using bench = new Bench();
  bench.start({ method: "POST", body: bytesBody("content") });
  await turns();
  assertEquals(bench.socket.writes, ["POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\ncontent"]);
});

Deno.test("Connection sends the head in one write with the first bytes of content that streams", async () => {
  for (const [length, body] of [[5, "first"], [null, "5\r\nfirst\r\n"]] as const) {
    using bench = new Bench();
    const content = new ManualBody(length);
    bench.start({ method: "POST", body: content });
    await turns();
    assertEquals(bench.socket.writes, []);
    content.send("first");
    await turns();
    const framing = length === null ? "transfer-encoding: chunked" : "content-length: 5";
    assertEquals(bench.socket.writes, [`POST / HTTP/1.1\r\nhost: h\r\n${framing}\r\n\r\n${body}`]);
  }
});

Deno.test("Connection does not keep a head for content that does not come", async () => {
  using bench = new Bench();
  const content = new ManualBody();
  bench.start({ method: "POST", body: content });
  await bench.clock.advance(40);
  assertEquals(bench.socket.writes, ["POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"]);
  content.send("late");
  await turns();
  assertEquals(bench.socket.writes.slice(1), ["4\r\nlate\r\n"]);
});

Deno.test("Connection sends everything where the socket takes a few bytes at a time", async () => {
  const large = "0123456789".repeat(10_000);
  const cases = [
    [bytesBody(large), large],
    [streamBody([large, "x"], 100_001), `${large}x`],
    [streamBody([large, "x"]), `186a0\r\n${large}\r\n1\r\nx\r\n0\r\n\r\n`],
  ] as const;
  for (const [body, content] of cases) {
    using bench = new Bench();
    bench.socket.writeLimit = 7001;
    bench.start({ method: "POST", body });
    for (let turn = 0; turn < 10; turn++) await turns();
    const sent = bench.socket.writes.join("");
    assertEquals(sent.slice(sent.indexOf("\r\n\r\n") + 4), content);
  }
});

Deno.test("Connection closes its socket in the same turn in which the client is gone", async () => {
  for (const answer of ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "HTTP/1.1 200 OK\r\n\r\nab"]) {
    using bench = new Bench();
    const cancellation = new Cancellation();
    bench.start({}, cancellation);
    await turns();
    await bench.socket.receive(answer);
    cancellation.cancel(new ClientGoneError());
    assert(bench.socket.closed);
    assertEquals(bench.told, ["closed"]);
  }
});

Deno.test("Connection that gets bytes while idle is closed before it is used again", async () => {
  for (const stray of ["x", OK, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"]) {
    using bench = new Bench();
    await bench.serve();
    await bench.socket.receive(stray);
    assert(bench.socket.closed);
    assertEquals(bench.told, ["released", "closed"]);
  }
});

Deno.test("Connection takes no answer that was there before the request, however close they come", async () => {
  const cases = [
    [{}, "stale"],
    [{ method: "PUT", body: bytesBody("x") }, "stale"],
    [{ method: "POST", body: new ManualBody() }, "stale"],
    // Its bytes are on their way, so nobody knows whether they arrived.
    [{ method: "POST", body: bytesBody("x") }, "closed"],
  ] as const;
  for (const [request, told] of cases) {
    using bench = new Bench();
    await bench.serve();
    bench.socket.holdWrites();
    const response = bench.start(request);
    await bench.socket.receive(OK.replace("ok", "no"));
    assertEquals(bench.told, ["released", told]);
    const error = await assertRejects(() => response, ProxyError);
    if (error instanceof UpstreamError) {
      assertEquals([error.code, error.phase], ["http_protocol_error", "sent"]);
    }
    assert(bench.socket.closed);
  }
});

Deno.test("Connection refuses an answer before any request was made on it", async () => {
  using bench = new Bench();
  const response = bench.start({ method: "POST", body: new ManualBody() });
  await bench.socket.receive(OK);
  const error = await assertRejects(() => response, UpstreamError);
  assertEquals([error.code, error.phase], ["http_protocol_error", "unsent"]);
  assertEquals(bench.told, ["closed"]);
});

Deno.test("Connection serves again after content that streamed, when the request was sent whole", async () => {
  using bench = new Bench();
  for (const body of [streamBody(["a", "b"]), streamBody(["ab"], 2), bytesBody("ab")]) {
    const response = bench.start({ method: "POST", body });
    await turns();
    await bench.socket.receive(OK);
    assertEquals(await bodyText(response), "ok");
  }
  assertEquals(bench.told, ["released", "released", "released"]);
});

Deno.test("Connection is not used again where the request was not sent whole, or the answer has too much", async () => {
  const cases: [Partial<OutgoingRequest>, string][] = [
    [{ method: "POST", body: new ManualBody(10) }, OK],
    [{ method: "POST", body: new ManualBody() }, OK],
    [{}, `${OK}x`],
    [{}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx"],
    [{}, "HTTP/1.1 204 No Content\r\n\r\nx"],
    // They must not announce content; who does may be about to send it, as the answer to the next request.
    [{}, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"],
    [{}, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"],
    [{ method: "HEAD" }, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"],
  ];
  for (const [request, answer] of cases) {
    using bench = new Bench();
    const response = bench.start(request);
    if (request.body instanceof ManualBody) request.body.send("part");
    await turns();
    await bench.socket.receive(answer);
    await bodyText(response);
    assertEquals(bench.told, ["closed"], answer);
  }
});

Deno.test("Connection hands a response over with its head, even while the client keeps sending", async () => {
  using bench = new Bench();
  const content = new ManualBody();
  const response = bench.start({ method: "POST", body: content });
  content.send("a");
  await turns();
  await bench.socket.receive("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
  const { body } = await response;
  assertEquals([body?.length, body?.whole, latin1Text(body!.ready!)], [4, null, "ab"]);
  content.send("b");
  await turns();
  assertEquals(bench.socket.writes.at(-1), "1\r\nb\r\n");
  const reading = bodyText(response);
  await bench.socket.receive("cd");
  assertEquals(await reading, "abcd");
});

Deno.test("Connection gives a head as much time as it may take in all, however it drips", async () => {
  using bench = new Bench();
  const response = bench.start();
  await turns();
  for (const text of "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200") {
    if (bench.socket.closed) break;
    await bench.socket.receive(text);
    await bench.clock.advance(50);
  }
  const error = await assertRejects(() => response, UpstreamError);
  assertEquals([error.code, bench.told], ["http_response_timeout", ["closed"]]);
  // One second in pieces of 50 ms: not a byte was waited for longer because of those before it.
  assert(bench.clock.now() < 1000 + 1200);
});

Deno.test("Connection finds the same in an answer, wherever the reads cut it", async () => {
  const long = `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: ${"y".repeat(20_000)}\r\n`;
  const answers = [
    [OK, "ok"],
    [`${long}Content-Length: 10\r\n\r\n0123456789`, "0123456789"],
    [`${long}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x\r\ndefg\r\n0\r\nX: y\r\n\r\n`, "abcdefg"],
    [`HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n${"z".repeat(70_000)}`, "z".repeat(70_000)],
  ] as const;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...answers),
      fc.array(fc.nat(), { maxLength: 6 }),
      async ([text, content], at) => {
        using bench = new Bench();
        for (let round = 0; round < 2; round++) {
          const response = bench.start();
          await turns();
          const cuts = at.map((place) => place % text.length).sort((a, b) => a - b);
          const body = bodyText(response);
          let from = 0;
          for (const cut of [...cuts, text.length]) {
            await bench.socket.receive(text.slice(from, cut));
            from = cut;
          }
          assertEquals(await body, content);
          assertEquals(bench.told.length, round + 1);
        }
        assertEquals(bench.told, ["released", "released"]);
      },
    ),
    { seed: 3, numRuns: 100 },
  );
});

Deno.test("Connection serves nobody else before its response is let go, once", async () => {
  using bench = new Bench();
  const answers = [OK, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"];
  for (const [index, answer] of answers.entries()) {
    const pending = bench.start();
    await turns();
    await bench.socket.receive(answer);
    const response = await pending;
    // What is lent stands in the buffer that the next head would be read into.
    assertEquals(bench.told.length, index);
    if (answer === OK) {
      assertEquals(latin1Text(response.body!.whole!), "ok");
      for (const piece of [response.body!.whole, null]) assertEquals(await response.body!.read(), piece);
      assertEquals(bench.told.length, index);
    }
    response.release();
    response.release();
    assertEquals(bench.told.length, index + 1);
  }
  assertEquals(bench.told, ["released", "released", "released"]);
});

Deno.test("Connection is closed when its response is let go before the end", async () => {
  for (const reads of [0, 1]) {
    using bench = new Bench();
    const pending = bench.start();
    await turns();
    await bench.socket.receive("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    const response = await pending;
    for (let i = 0; i < reads; i++) await response.body!.read();
    response.release();
    assertEquals([bench.told, bench.socket.closed], [["closed"], true]);
    await assertRejects(() => response.body!.read(), ClientGoneError);
  }
});

Deno.test("Connection gives its buffers back, but none that a read may still write into", async () => {
  using bench = new Bench();
  const content = "x".repeat(LARGE_BUFFER + SMALL_BUFFER);
  const response = bench.start();
  await turns();
  const reading = bodyText(response);
  await bench.socket.receive(`HTTP/1.1 200 OK\r\nContent-Length: ${content.length}\r\n\r\n${content}`);
  assertEquals(await reading, content);
  assertEquals([bench.told, bench.shelf.size], [["released"], 2]);

  const cut = await startReading(bench);
  assertEquals(bench.shelf.size, 1);
  cut.release();
  assertEquals(bench.shelf.size, 1);
});

async function startReading(bench: Bench): Promise<ServerResponse> {
  const pending = bench.start();
  await turns();
  await bench.socket.receive("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
  const response = await pending;
  response.body!.read().catch(() => {});
  return response;
}

Deno.test("Connection gives a reader all the time it takes, and the server none of it", async () => {
  using bench = new Bench();
  const pending = bench.start();
  await turns();
  await bench.socket.receive("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab");
  const { body } = await pending;
  await bench.clock.advance(5000);
  assertEquals(latin1Text((await body!.read())!), "ab");
  await bench.clock.advance(5000);
  const reading = body!.read();
  await bench.clock.advance(900);
  await bench.socket.receive("cd");
  assertEquals(latin1Text((await reading)!), "cd");
  await bench.clock.advance(5000);
  const late = assertRejects(() => body!.read(), UpstreamError);
  await bench.clock.advance(1100);
  assertEquals((await late).code, "http_response_timeout");
  assertEquals(bench.told, ["closed"]);
});
