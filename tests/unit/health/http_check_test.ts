import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type BodyTest, httpCheck, type HttpCheckRequest } from "../../../lib/health/http_check.ts";
import { systemClock } from "../../../lib/core/clock.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { resolveHealthCheck } from "../../../lib/health/health_check_options.ts";
import { HealthChecker } from "../../../lib/health/health_checker.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import { resolvePlainServer } from "../../../lib/upstream/peer.ts";
import { Server } from "../../../lib/upstream/server.ts";
import { answering, rawUpstream } from "../../support/raw_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { HOSTILE_RESPONSES } from "../transport/hostile_responses.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

const NEVER = new AbortController().signal;

function serverAt(address: string): Server {
  return new Server(resolvePlainServer(address));
}

/** Checks a server that sends these bytes and then closes. */
async function checkOf(response: string, options: HttpCheckRequest = {}): Promise<void> {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(response);
  });
  await httpCheck(options)(serverAt(upstream.address), NEVER);
}

function ok(content: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-length: ${content.length}\r\n\r\n${content}`;
}

Deno.test("httpCheck() sends what it was told to, and closes its connection", async () => {
  const heads: string[] = [];
  await using upstream = rawUpstream(async (connection) => {
    heads.push((await connection.readHead())!);
    await connection.write(ok(""));
    assertEquals(await connection.read(), null);
  });
  const server = serverAt(upstream.address);
  await httpCheck({})(server, NEVER);
  await httpCheck({ method: "HEAD", path: "/up?a=1", host: "api.test", headers: { "X-Probe": "1" } })(
    server,
    NEVER,
  );
  const [plain, told] = heads.map((head) => head.trimEnd().split("\r\n"));
  assertEquals(plain, [
    "GET / HTTP/1.1",
    `host: ${upstream.address}`,
    "user-agent: lbproxy-health-check",
    "accept-encoding: identity",
    "connection: close",
  ]);
  assertEquals([told![0], told![1], told!.at(-1)], ["HEAD /up?a=1 HTTP/1.1", "host: api.test", "X-Probe: 1"]);
  await upstream.untilOpen(0);
  assertEquals(upstream.errors, []);
});

Deno.test("httpCheck() sends one Host, also when it stands among the fields", async () => {
  const hosts: string[][] = [];
  await using upstream = rawUpstream(async (connection) => {
    const head = (await connection.readHead())!;
    hosts.push(head.split("\r\n").filter((line) => /^host:/i.test(line)));
    await connection.write(ok(""));
  });
  const server = serverAt(upstream.address);
  await httpCheck({ headers: { Host: "api.test" } })(server, NEVER);
  await httpCheck({ host: "other.test", headers: { Host: "api.test" } })(server, NEVER);
  assertEquals(hosts, [["host: api.test"], ["host: other.test"]]);
});

Deno.test("httpCheck() passes the statuses that are expected and fails all others", async () => {
  const cases: [number, HttpCheckRequest["expectedStatuses"], boolean][] = [
    [200, undefined, true],
    [302, undefined, true],
    [404, undefined, false],
    [503, undefined, false],
    [200, [204], false],
    [204, [204], true],
    [401, ["200-299", 401], true],
    [300, ["200-299", 401], false],
  ];
  for (const [status, expectedStatuses, passes] of cases) {
    const options = expectedStatuses === undefined ? {} : { expectedStatuses };
    const check = checkOf(`HTTP/1.1 ${status} Any\r\nlocation: /elsewhere\r\n\r\n`, options);
    if (passes) await check;
    else await assertRejects(() => check, Error, `status ${status}`);
  }
});

Deno.test("httpCheck() looks at the content by text, expression or function", async () => {
  const global = /fine/g;
  const cases: [BodyTest, boolean][] = [
    ["all fine", true],
    ["bad", false],
    [/^all f/, true],
    [/^fine/, false],
    [global, true],
    [(body: string) => body.length === 8, true],
    [(body: string) => Promise.resolve(body === ""), false],
  ];
  for (const [body, passes] of cases) {
    for (let time = 0; time < 2; time++) {
      const check = checkOf(ok("all fine"), { body });
      if (passes) await check;
      else await assertRejects(() => check, Error, "the content is not as expected");
    }
  }
});

Deno.test("httpCheck() reads content however it is framed, and no more than it may", async () => {
  const body = (text: string) => text === "hello world";
  const chunked =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\n\r\n";
  for (const response of [ok("hello world"), chunked, "HTTP/1.0 200 OK\r\n\r\nhello world"]) {
    await checkOf(response, { body });
  }
  await checkOf("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ok("hello world"), { body });
  for (const response of [ok("x".repeat(100_000)), `HTTP/1.1 200 OK\r\n\r\n${"x".repeat(100_000)}`]) {
    await checkOf(response, { body: (text) => text === "x".repeat(1000), maxBodyBytes: 1000 });
  }
  const long = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n186a0\r\n" + "x".repeat(100_000);
  await checkOf(long, { body: (text) => text.length === 1000, maxBodyBytes: 1000 });
});

Deno.test("httpCheck() fails on what is no response, and on one that breaks off", async () => {
  const cases: [string, string][] = [
    [
      "SSH-2.0-OpenSSH_9.6\r\n\r\n",
      "Cannot read the response: it has something other than an HTTP/1 response",
    ],
    ["", "the connection was closed before the end of the response"],
    ["HTTP/1.1 200 OK\r\ncontent-le", "the connection was closed before the end of the response"],
    [
      "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
      "the connection was closed before the end of the response",
    ],
    ["HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\nabc", "a content-length that is not a number"],
    ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "a chunk without a size"],
    [`HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(50_000)}`, "more than 200 fields"],
    [`${"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20)}${ok("abc")}`, "interim responses without end"],
    [
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + "1;x=yyyyyyyy\r\nq\r\n".repeat(9000),
      "chunk extensions without end",
    ],
  ];
  for (const [response, message] of cases) {
    await assertRejects(() => checkOf(response, { body: "abc" }), Error, message);
  }
});

Deno.test("httpCheck() refuses every response that is refused from servers of requests", async () => {
  const passed: string[] = [];
  const failed: string[] = [];
  for (const { name, bytes, content } of HOSTILE_RESPONSES) {
    const check = checkOf(bytes, { body: () => true, maxBodyBytes: 1_000_000 });
    await check.then(() => passed.push(name), () => failed.push(name));
    assertEquals(passed.at(-1) === name, content !== undefined, name);
  }
  assert(failed.length > 50 && passed.length > 5);
});

Deno.test("httpCheck() looks at what has come with the head even when nobody wants the content", async () => {
  const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  await checkOf(`${chunked}2\r\nok\r\n`);
  await assertRejects(
    () => checkOf(`${chunked}2\r\nokay\r\n`),
    Error,
    "a chunk that is longer than its size",
  );
});

Deno.test("httpCheck() lets go of a server that does not respond when the signal aborts", async () => {
  const hung = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    hung.resolve();
    assertEquals(await connection.read(), null);
  });
  const controller = new AbortController();
  const check = httpCheck({})(serverAt(upstream.address), controller.signal);
  await hung.promise;
  controller.abort(new Error("late"));
  await assertRejects(() => check);
  await upstream.untilOpen(0);
  assertEquals(upstream.errors, []);
});

Deno.test("httpCheck() speaks TLS to a server that has it, by its name", async () => {
  await using upstream = await tlsUpstream({
    handler: (request) => new Response(request.headers.get("host")),
  });
  const { cert } = await testCa();
  const address = { kind: "tcp", hostname: "127.0.0.1", port: upstream.port } as const;
  const named = (serverName: string) =>
    new Server({ id: upstream.address, peer: { address, tls: { serverName, caCerts: [cert] } } });
  await httpCheck({ body: /^one\.one\.one\.one$/ })(named("one.one.one.one"), NEVER);
  await assertRejects(() => httpCheck({})(named("two.two.two.two"), NEVER), Error, "certificate");
});

Deno.test("httpCheck() goes to another port when told", async () => {
  await using upstream = startUpstream();
  await httpCheck({ body: "upstream" }, upstream.port)(serverAt("127.0.0.1:1"), NEVER);
  assertEquals(upstream.requests, 1);
});

Deno.test("httpCheck() goes to a unix socket", async () => {
  const folder = await Deno.makeTempDir();
  {
    await using _upstream = rawUpstream(answering(ok("fine")), { path: `${folder}/a.sock` });
    await httpCheck({ body: "fine" })(serverAt(`unix:${folder}/a.sock`), NEVER);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("httpCheck() refuses statuses that are none, and text that would break the request", () => {
  for (const status of [0, 99, 1000, "2xx", "300-200", ""]) {
    assertThrows(
      () => httpCheck({ expectedStatuses: [status] }),
      TypeError,
      'they must be statuses such as 200 or "200-299"',
    );
  }
  const broken: HttpCheckRequest[] = [{ path: "/ HTTP/1.1\r\nx: y" }, { host: "a\nb" }, {
    headers: { a: "b\r\nc: d" },
  }];
  for (const options of broken) {
    assertThrows(() => httpCheck(options), TypeError, "a request cannot have");
  }
  assert(httpCheck({ expectedStatuses: [200, "300-399"] }) !== undefined);
});

Deno.test("httpCheck() keeps its connection when told, as long as responses allow it", async () => {
  const responses = [
    ok("all well"),
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n0\r\nx: y\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    // These three are the last ones of their connection.
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    `HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345too much`,
    ok(""),
  ];
  const used: number[] = [];
  await using upstream = rawUpstream(async (connection, index) => {
    while (await connection.readHead() !== null) {
      used.push(index);
      await connection.write(responses[used.length - 1]!);
    }
  });
  const server = serverAt(upstream.address);
  const probe = httpCheck({ reuseConnection: true });
  for (const _ of responses) await probe(server, NEVER);
  assertEquals(used, [0, 0, 0, 0, 1, 2, 3]);
  await upstream.untilOpen(1);
  probe.forget!(server);
  probe.forget!(server);
  await upstream.untilOpen(0);
});

Deno.test("httpCheck() keeps no connection after a 204 that announces content", async () => {
  const used: number[] = [];
  await using upstream = rawUpstream(async (connection, index) => {
    while (await connection.readHead() !== null) {
      used.push(index);
      await connection.write("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n");
    }
  });
  const probe = httpCheck({ reuseConnection: true });
  for (let i = 0; i < 2; i++) await probe(serverAt(upstream.address), NEVER);
  assertEquals(used, [0, 1]);
});

Deno.test("httpCheck() takes a 408 on the kept connection for its end, and on a new one for the response", async () => {
  const kept = Promise.withResolvers<void>();
  const gaveUp = Promise.withResolvers<void>();
  let status = "200 OK";
  await using upstream = rawUpstream(async (connection, index) => {
    await connection.readHead();
    await connection.write(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`);
    if (index > 0) return;
    await kept.promise;
    await connection.write("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    gaveUp.resolve();
    await connection.read();
  });
  const server = serverAt(upstream.address);
  const probe = httpCheck({ reuseConnection: true });
  await probe(server, NEVER);
  kept.resolve();
  await gaveUp.promise;
  await probe(server, NEVER);
  assertEquals(upstream.opened, 2);
  status = "408 Request Timeout";
  await assertRejects(() => probe(server, NEVER), Error, "status 408");
  probe.forget!(server);
});

Deno.test("httpCheck() takes a new connection when the kept one was closed, and keeps none after HEAD with a length", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
  });
  const server = serverAt(upstream.address);
  const probe = httpCheck({ method: "HEAD", reuseConnection: true });
  for (let i = 1; i <= 3; i++) {
    await probe(server, NEVER);
    await upstream.untilOpen(0);
    assertEquals(upstream.opened, i);
  }
  await upstream.close();
  await assertRejects(() => probe(server, NEVER), Deno.errors.ConnectionRefused);
});

Deno.test("HealthChecker closes kept connections of servers that leave, and all at the end", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  const pool = new Pool({ name: "test", servers: [a.address, b.address] });
  await using checker = new HealthChecker({
    pool,
    check: resolveHealthCheck({ type: "http", reuseConnection: true, interval: "10ms" }),
    clock: systemClock,
    random: seededRandom(1),
  });
  await checker.firstRound();
  assertEquals(pool.servers.map(({ healthy }) => healthy), [true, true]);
  await pool.removeServer(a.address);
});
