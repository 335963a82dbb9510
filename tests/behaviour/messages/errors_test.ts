import { assertEquals, assertRejects } from "@std/assert";
import { blackHole } from "../../support/black_hole.ts";
import { deadPort } from "../../support/dead_port.ts";
import { engineCan } from "../../support/engine.ts";
import { eachTransport, type Start, transportCan } from "../../support/each_transport.ts";
import { latin1Text } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { resettingUpstream } from "../../support/resetting_upstream.ts";
import { type Answer, startProxy } from "../../support/start_proxy.ts";

/** What a problem document of the proxy's looks like, and that it says nothing of the server. */
function assertProblem(answer: Answer, status: number, error: string, secrets: readonly string[]): void {
  assertEquals([answer.status, answer.field("proxy-status")], [status, `lbproxy; error=${error}`]);
  assertEquals(answer.field("content-type"), "application/problem+json");
  assertEquals(answer.field("cache-control"), "no-store");
  assertEquals(answer.field("content-length"), String(answer.body.length));
  const { type, title, status: inBody, ...rest } = JSON.parse(answer.text);
  assertEquals([type, typeof title, inBody, rest], ["about:blank", "string", status, {}]);
  for (const secret of secrets) assertEquals((answer.head + answer.text).includes(secret), false, secret);
}

/** A server that answers everything with these bytes and closes. */
function saying(bytes: string) {
  return rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(bytes);
  });
}

eachTransport("proxy answers 502 connection_refused", async (start) => {
  const port = deadPort();
  await using proxy = await start({ upstreams: [`127.0.0.1:${port}`] });
  assertProblem(await proxy.ask(), 502, "connection_refused", [String(port), "127.0.0.1"]);
  const [event] = proxy.seen.eventsOf("request_failure");
  assertEquals([event!.code, event!.server, event!.source], [
    "connection_refused",
    `127.0.0.1:${port}`,
    "upstream",
  ]);
});

eachTransport(
  "proxy answers 502 connection_terminated to a reset and to a close without an answer",
  async (start) => {
    await using reset = await resettingUpstream();
    await using closing = saying("");
    await using half = saying("HTTP/1.1 200 OK\r\nX-Secr");
    for (const { address } of [reset, closing, half]) {
      await using proxy = await start({ upstreams: [address] });
      assertProblem(await proxy.ask(), 502, "connection_terminated", [address]);
    }
  },
);

const NONSENSE: readonly string[] = [
  "SSH-2.0-OpenSSH_9.6\r\n\r\n",
  "HTTP/1.1 abc OK\r\n\r\n",
  "HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n",
  "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
  "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
];

for (const bytes of NONSENSE) {
  eachTransport(
    `proxy answers 502 http_protocol_error to ${JSON.stringify(bytes)}`,
    async (start, transport) => {
      await using upstream = saying(bytes);
      await using proxy = await start({ upstreams: [upstream.address] });
      const error = transportCan(transport, "tell how a server failed")
        ? "http_protocol_error"
        : "connection_terminated";
      assertProblem(await proxy.ask("POST /"), 502, error, [upstream.address, "SSH", "colon"]);
    },
  );
}

eachTransport("proxy answers 502 to a switch of protocols that nobody asked for", async (start) => {
  await using upstream = saying(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
  );
  await using proxy = await start({ upstreams: [upstream.address] });
  assertEquals((await proxy.ask("GET /", ["Upgrade: x"])).status, 502);
});

eachTransport("proxy answers 502 dns_error when a server's name does not resolve", async (start) => {
  await using proxy = await start({ upstreams: ["no-such-host.invalid:80"] });
  assertProblem(await proxy.ask(), 502, "dns_error", ["no-such-host"]);
});

eachTransport("proxy answers 504 when a connection does not come about", async (start, transport) => {
  using hole = await blackHole();
  if (hole === null) return;
  const timeouts = { connect: "100ms", response: "100ms" };
  await using proxy = await start({ upstreams: { servers: [hole.address], timeouts } });
  const error = transportCan(transport, "tell when it is connected")
    ? "connection_timeout"
    : "http_response_timeout";
  assertProblem(await proxy.ask(), 504, error, [hole.address]);
});

Deno.test("proxy answers 504 when a TLS handshake takes longer than timeouts.tls, and the log tells it apart", async () => {
  await using upstream = rawUpstream((connection) => connection.untilClosed());
  const timeouts = { connect: "20s", tls: "100ms" } as const;
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address], tls: true, timeouts, transport: "http1" },
  });
  const answer = await proxy.ask();
  assertEquals(answer.status, 504);
  assertEquals(
    answer.field("proxy-status"),
    'lbproxy; error=connection_timeout; details="tls_handshake_timeout"',
  );
  assertEquals((await proxy.seen.untilEntries(1)).error, "tls_handshake_timeout");
});

/** More than a transport waits for before it hands an answer over. */
const LONG = "a".repeat(200_000);

async function assertCutOff(start: Start, bytes: string): Promise<void> {
  await using upstream = saying(bytes);
  await using proxy = await start({ upstreams: [upstream.address] });
  await assertRejects(() => proxy.ask());
  const { status, error } = await proxy.seen.untilEntries(1);
  assertEquals({ status, error }, { status: 200, error: "http_response_incomplete" });
  assertEquals(proxy.servers[0]!.inFlight, 0);
}

Deno.test("proxy answers 502 when short content breaks off before the client was told anything", async () => {
  if (!engineCan("short content whole")) return;
  await using upstream = saying("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  await using proxy = await startProxy({ upstreams: { servers: [upstream.address], transport: "http1" } });
  assertProblem(await proxy.ask(), 502, "http_response_incomplete", [upstream.address]);
});

eachTransport("proxy cuts the client off when a declared length is not reached", async (start) => {
  await assertCutOff(start, `HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${LONG}`);
});

eachTransport("proxy cuts the client off when the last chunk does not come", async (start) => {
  await assertCutOff(start, `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n${LONG}\r\n`);
});

eachTransport("proxy cuts the client off in the middle of a chunk", async (start, transport) => {
  if (!transportCan(transport, "give a head before its end")) return;
  await assertCutOff(start, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc");
});

eachTransport("proxy never gives a short answer as whole that was cut short", async (start) => {
  await using upstream = saying("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  await using proxy = await start({ upstreams: [upstream.address] });
  // Cut off when the head has gone out already, a 502 when it has not.
  const status = await proxy.ask().then((answer) => answer.status, () => 200);
  const entry = await proxy.seen.untilEntries(1);
  assertEquals([entry.status, entry.error], [status, "http_response_incomplete"]);
  assertEquals([200, 502].includes(status), true);
});

eachTransport(
  "proxy never ends an answer cleanly that was cut short after much of it",
  async (start, transport) => {
    if (!transportCan(transport, "give a head before its end")) return;
    const piece = "x".repeat(60_000);
    await using upstream = saying(
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nea60\r\n${piece}\r\nea60\r\n`,
    );
    await using proxy = await start({ upstreams: [upstream.address] });
    using client = await proxy.connect();
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    const text = latin1Text(await client.readToEnd().catch(() => new Uint8Array(0)));
    assertEquals(text.endsWith("0\r\n\r\n"), false);
    await proxy.seen.untilEntries(1);
  },
);

eachTransport("proxy answers HEAD failures without content", async (start) => {
  await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`] });
  using client = await proxy.connect();
  for (let i = 0; i < 2; i++) {
    await client.write("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assertEquals((await client.readResponse("HEAD")).status, 502);
  }
});

eachTransport(
  "proxy keeps the client's connection after a failure that is not the client's",
  async (start) => {
    await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`] });
    using client = await proxy.connect();
    for (let i = 0; i < 3; i++) {
      await client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
      assertEquals((await client.readResponse()).status, 502);
    }
  },
);
