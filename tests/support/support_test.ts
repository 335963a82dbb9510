import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { checksum, patternStream } from "./checksum.ts";
import { deadPort } from "./dead_port.ts";
import { FakeClock } from "./fake_clock.ts";
import { ProgramFolder } from "./program.ts";
import { rawClient } from "./raw_client.ts";
import { latin1Bytes, latin1Text } from "./raw_connection.ts";
import { answering, rawUpstream } from "./raw_upstream.ts";
import { resettingUpstream } from "./resetting_upstream.ts";
import { startUpstream } from "./start_upstream.ts";
import { TestCa, testCa } from "./test_ca.ts";
import { tlsUpstream } from "./tls_upstream.ts";

Deno.test("startUpstream() answers with its name and records what it saw", async () => {
  await using upstream = startUpstream("a");
  using client = await rawClient(upstream.port);
  await client.write("POST /x/../y?q='1' HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
  const response = await client.readResponse();
  assertEquals([response.status, latin1Text(response.body)], [200, "a"]);
  assertEquals(upstream.seen.map(({ method, target, body }) => ({ method, target, body })), [
    { method: "POST", target: "/x/../y?q='1'", body: "hi" },
  ]);
});

Deno.test("startUpstream() can be closed while a request runs", async () => {
  const asked = Promise.withResolvers<void>();
  const never = Promise.withResolvers<Response>();
  const upstream = startUpstream({
    handler: () => {
      asked.resolve();
      return never.promise;
    },
  });
  using client = await rawClient(upstream.port);
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await asked.promise;
  await upstream.close();
  never.resolve(new Response());
  await client.untilClosed();
});

Deno.test("rawUpstream() sees exact bytes, sends exact bytes and counts connections", async () => {
  const heads: string[] = [];
  await using upstream = rawUpstream(async (connection) => {
    heads.push((await connection.readHead())!);
    await connection.write("HTTP/1.1 200 \xff\r\nX:\xe9\r\n\r\nbody");
  });
  using client = await rawClient(upstream.port);
  await client.write("GET / HTTP/1.1\r\nA:  \xff\r\n\r\n");
  const response = await client.readResponse();
  assertEquals(heads, ["GET / HTTP/1.1\r\nA:  \xff\r\n\r\n"]);
  assertEquals(response.startLine, "HTTP/1.1 200 \xff");
  assertEquals(response.fields, [["X", "\xe9"]]);
  assertEquals(latin1Text(response.body), "body");
  assertEquals(upstream.opened, 1);
  await upstream.untilOpen(0);
});

Deno.test("resettingUpstream() sends what it is told and resets the connection", async () => {
  const go = Promise.withResolvers<void>();
  await using upstream = await resettingUpstream("HTTP/1.1 200", go.promise);
  using client = await rawClient(upstream.port);
  await client.write("GET / HTTP/1.1\r\n\r\n");
  assertEquals(latin1Text(await client.readExactly(12)), "HTTP/1.1 200");
  go.resolve();
  await assertRejects(() => client.readToEnd(), Deno.errors.ConnectionReset);
  assertEquals(upstream.requests, 1);
});

Deno.test("RawConnection.readResponse() reads a chunked body byte by byte", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    const text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
    for (const char of text) await connection.write(char);
    await connection.untilClosed();
  });
  using client = await rawClient(upstream.port);
  await client.write("GET / HTTP/1.1\r\n\r\n");
  assertEquals(latin1Text((await client.readResponse()).body), "abcd");
});

Deno.test("answering() serves one connection many times", async () => {
  await using upstream = rawUpstream(answering("HTTP/1.1 204 No Content\r\n\r\n"));
  using client = await rawClient(upstream.port);
  for (let i = 0; i < 3; i++) {
    await client.write("GET / HTTP/1.1\r\n\r\n");
    assertEquals((await client.readResponse()).status, 204);
  }
  assertEquals(upstream.opened, 1);
});

Deno.test("deadPort() refuses connections", async () => {
  await assertRejects(() => rawClient(deadPort()), Deno.errors.ConnectionRefused);
});

Deno.test("TestCa issues certificates for names, which only those accept that trust it", async () => {
  await using upstream = await tlsUpstream({ names: ["one.one.one.one"] });
  const connect = async (serverName: string, ca: TestCa) => {
    const tcp = await Deno.connect({ hostname: "127.0.0.1", port: upstream.port });
    const tls = await Deno.startTls(tcp, { hostname: serverName, caCerts: [ca.cert] });
    using _closing = { [Symbol.dispose]: () => tls.close() };
    await tls.handshake();
  };
  await connect("one.one.one.one", await testCa());
  await assertRejects(() => testCa().then((ca) => connect("two.example", ca)), Deno.errors.InvalidData);
  await assertRejects(() => TestCa.create("Other").then((ca) => connect("one.one.one.one", ca)));
});

Deno.test("FakeClock runs timers in order, at their own time, and what they set off", async () => {
  const clock = new FakeClock(0);
  const seen: [string, number][] = [];
  const note = (name: string) => seen.push([name, clock.now()]);
  clock.setTimer(() => note("b"), 20);
  clock.setTimer(() => {
    note("a");
    clock.setTimer(() => note("c"), 15);
  }, 10);
  using cancelled = clock.setTimer(() => note("never"), 12);
  cancelled[Symbol.dispose]();
  await clock.advance(24);
  assertEquals(seen, [["a", 10], ["b", 20]]);
  await clock.advance(1);
  assertEquals(seen[2], ["c", 25]);
  assertEquals([clock.now(), clock.pending], [25, 0]);
});

Deno.test("RunningProgram.address() fails in time where nothing tells of it", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.js": 'export const listen = "127.0.0.1:0"; export const upstreams = ["127.0.0.1:9"];',
  });
  await using program = folder.start(["proxy.config.js", "--log-level", "warn"]);
  await assertRejects(() => program.address(1000), Error, "within 1000 ms, received");
});

Deno.test("checksum() tells a stream that lost, doubled or swapped a piece", async () => {
  const whole = await checksum(patternStream(300_000));
  const bytes = new Uint8Array(await new Response(patternStream(300_000)).arrayBuffer());
  assertEquals(whole.bytes, 300_000);
  assertEquals(await checksum(bytes), whole);
  assertNotEquals((await checksum(bytes.subarray(1))).sha256, whole.sha256);
  bytes.copyWithin(65_536, 0, 65_536);
  assertNotEquals((await checksum(bytes)).sha256, whole.sha256);
});

Deno.test("latin1Text() and latin1Bytes() keep every byte", () => {
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  assertEquals(latin1Bytes(latin1Text(all)), all);
});
