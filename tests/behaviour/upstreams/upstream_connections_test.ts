import { assert, assertEquals } from "@std/assert";
import { eachTransport } from "../../support/each_transport.ts";
import { latin1Bytes } from "../../support/raw_connection.ts";
import { answering, rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CLIENTS = 64;
const REQUESTS = 10_000;
const ABORTS = 1000;
const AT_ONCE = 20;

Deno.test("proxy opens no more than 64 connections a server for 10,000 requests of 64 clients", async () => {
  await using first = rawUpstream(answering(OK));
  await using second = rawUpstream(answering(OK));
  await using proxy = await startProxy({ upstreams: [first.address, second.address] });
  let left = REQUESTS;
  await Promise.all(Array.from({ length: CLIENTS }, async () => {
    using client = await proxy.connect();
    while (left-- > 0) {
      await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      const { status, body } = await client.readResponse();
      assertEquals([status, body.length], [200, 2]);
    }
  }));
  for (const upstream of [first, second]) {
    assert(upstream.opened <= CLIENTS, `${upstream.opened} connections`);
    // All of them are kept, none was replaced.
    assertEquals(upstream.open, upstream.opened);
  }
  await proxy.seen.untilEntries(REQUESTS);
  assertEquals(proxy.seen.entries.length, REQUESTS);
});

eachTransport(
  "proxy leaks no connection when clients abort 1,000 times in the middle of content",
  async (start) => {
    const content = "x".repeat(65_536);
    const framings = [
      `Content-Length: 1000000\r\n\r\n${content}`,
      `Transfer-Encoding: chunked\r\n\r\n10000\r\n${content}\r\n`,
      `\r\n${content}`,
    ].map((framing) => latin1Bytes(`HTTP/1.1 200 OK\r\n${framing}`));
    await using upstream = rawUpstream(async (connection, index) => {
      if (await connection.readHead() === null) return;
      await connection.write(framings[index % framings.length]!);
      await connection.untilClosed();
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    const abort = async () => {
      using client = await proxy.connect();
      await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      // Content comes with the head, which is read as it comes rather than searched.
      assert(await client.read() !== null);
    };
    for (let round = 0; round < ABORTS / AT_ONCE; round++) {
      await Promise.all(
        Array.from({ length: AT_ONCE }, abort),
      );
    }
    await proxy.seen.untilEntries(ABORTS);
    await upstream.untilOpen(0);
    assertEquals(upstream.opened, ABORTS);
    assertEquals(proxy.seen.entries.filter(({ status }) => status !== 499), []);
    assertEquals(proxy.servers.map(({ inFlight }) => inFlight), [0]);
  },
);

eachTransport(
  "proxy leaks no connection when clients abort in the middle of what they send",
  async (start) => {
    await using upstream = rawUpstream(async (connection) => {
      if (await connection.readHead() !== null) await connection.untilClosed();
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    const content = latin1Bytes("x".repeat(65_536));
    const abort = async (number: number) => {
      using client = await proxy.connect();
      const framing = number % 2 === 0
        ? "Content-Length: 1000000\r\n\r\n"
        : "Transfer-Encoding: chunked\r\n\r\n10000\r\n";
      await client.write(`POST / HTTP/1.1\r\nHost: h\r\n${framing}`);
      await client.write(content);
      await upstream.untilOpened(number + 1);
    };
    for (let number = 0; number < 100; number++) await abort(number);
    await proxy.seen.untilEntries(100);
    await upstream.untilOpen(0);
    assertEquals(proxy.servers.map(({ inFlight }) => inFlight), [0]);
  },
);

eachTransport(
  "proxy answers 200 GETs of a client though the server closes each connection before it is used again",
  async (start) => {
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      await connection.write(OK);
      // The next request is read and not answered, as when an idle timeout ends at that moment.
      await connection.readHead();
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    using client = await proxy.connect();
    for (let round = 0; round < 200; round++) {
      await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      assertEquals((await client.readResponse()).status, 200);
    }
  },
);
