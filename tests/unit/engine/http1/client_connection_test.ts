import { assertEquals, assertMatch } from "@std/assert";
import { type ContentUse, EngineConnection } from "../../../support/read_by_engine.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
const NEXT = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
const POST = "POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";

function targets({ requests }: EngineConnection): string[] {
  return requests.map(({ target }) => target);
}

for (const use of ["ignore", "cancel", "leave"] as const satisfies readonly ContentUse[]) {
  Deno.test(`content that comes after the response is not the next request: ${use}`, async () => {
    using connection = new EngineConnection(() => use);
    await connection.socket.receive(
      `POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: ${SMUGGLED.length + 1}\r\n\r\na`,
    );
    assertMatch(connection.taken(), /^HTTP\/1\.1 200 \r\n(?!.*connection: close)/s);
    // A piece for a read that may have been left behind, and one for whoever reads on.
    await connection.socket.receive(SMUGGLED.slice(0, 5));
    await connection.socket.receive(SMUGGLED.slice(5) + NEXT);
    assertEquals(targets(connection), ["/first", "/next"]);
    assertEquals(connection.end, "open");
  });

  Deno.test(`chunks that come after the response end the connection: ${use}`, async () => {
    using connection = new EngineConnection(() => use);
    const head = "POST /first HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    await connection.socket.receive(`${head}1\r\na\r\n${SMUGGLED.length.toString(16)}\r\n`);
    assertMatch(connection.taken(), /^HTTP\/1\.1 200 \r\n.*connection: close/s);
    await connection.socket.receive(`${SMUGGLED}\r\n0\r\n\r\n${NEXT}`);
    assertEquals(targets(connection), ["/first"]);
    assertEquals(connection.end, "closed");
  });

  Deno.test(`a connection that lingers ends in time, although content comes: ${use}`, async () => {
    using connection = new EngineConnection(() => use);
    const head = "POST /first HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";
    await connection.socket.receive(`${head}a`);
    assertMatch(connection.taken(), /^HTTP\/1\.1 200 \r\n.*connection: close/s);
    for (let second = 0; second < 3; second++) {
      // The client is to read the response before it learns that the connection is gone.
      assertEquals(connection.socket.closed, second === 2);
      if (second < 2) await connection.socket.receive("b");
      await connection.clock.advance(1000);
    }
    assertEquals(connection.socket.closed, true);
  });
}

/** What old clients send behind content, cut at each place. */
const LINE_ENDS: readonly (readonly string[])[] = [[POST + "\r\n"], [POST, "\r\n"], [POST, "\r", "\n"], [
  POST + "\r",
  "\n",
]];

for (const pieces of LINE_ENDS) {
  const shown = JSON.stringify(pieces.map((piece) => piece.replace(POST, "POST")));
  Deno.test(`a line end behind content is no request that its client is slow with: ${shown}`, async () => {
    using connection = new EngineConnection(() => "read");
    for (const piece of pieces) await connection.socket.receive(piece);
    assertMatch(connection.taken(), /^HTTP\/1\.1 200 \r\n/);
    await connection.clock.advance(70_000);
    await connection.socket.receive(NEXT);
    assertEquals(targets(connection), ["/first", "/next"]);
    assertMatch(connection.taken(), /^HTTP\/1\.1 200 \r\n/);
    // The next one is as idle as any other.
    await connection.socket.receive("\r\n");
    await connection.clock.advance(76_000);
    assertEquals([connection.taken(), connection.socket.closed], ["", true]);
  });
}

Deno.test("a connection that has sent a line end behind content is idle when the proxy stops", async () => {
  using connection = new EngineConnection(() => "read");
  await connection.socket.receive(`${POST}\r\n`);
  assertMatch(connection.taken(), /^HTTP\/1\.1 200 \r\n/);
  connection.drain();
  assertEquals([connection.taken(), connection.socket.closed], ["", true]);
});

Deno.test("a line end makes no head slower than it may be", async () => {
  using connection = new EngineConnection(() => "read");
  await connection.socket.receive(`${POST}\r\n`);
  await connection.clock.advance(70_000);
  connection.taken();
  await connection.socket.receive("GET / HTTP/1.1\r\n");
  await connection.clock.advance(11_000);
  assertMatch(connection.taken(), /^HTTP\/1\.1 408 \r\n/);
  assertEquals(connection.refusal, 408);
});

Deno.test("only one line end may stand before a request, whenever it comes", async () => {
  using connection = new EngineConnection(() => "read");
  await connection.socket.receive(`${POST}\r\n`);
  await connection.socket.receive("\r\n");
  assertEquals(connection.refusal, 400);
});
