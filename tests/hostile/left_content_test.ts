import { assertEquals } from "@std/assert";
import { rawUpstream } from "../support/raw_upstream.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { deadPort } from "../support/dead_port.ts";
import { startProxy } from "../support/start_proxy.ts";
import { LAST, SMUGGLED } from "./hostile_case.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0, engine: "http1" } as const;

Deno.test("content that comes after a 502 is not the next request", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: { dead: [`127.0.0.1:${deadPort()}`], live: [upstream.address] },
    routes: [{ match: { path: "/dead" }, upstream: "dead" }, { match: { path: "/*" }, upstream: "live" }],
    listen: LISTEN,
  });
  using connection = await proxy.connect();
  const length = SMUGGLED.length + 1;
  await connection.write(`POST /dead HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\na`);
  assertEquals((await connection.readResponse()).status, 502);
  await connection.write(SMUGGLED + LAST);
  assertEquals((await connection.readResponse()).status, 200);
  await connection.untilClosed();
  assertEquals(upstream.requests.map(({ startLine }) => startLine), ["GET /last HTTP/1.1"]);
});

Deno.test("content that comes after an early response is not the next request", async () => {
  const heads: string[] = [];
  await using upstream = rawUpstream(async (connection) => {
    for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
      heads.push(head.split("\r\n")[0]!);
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      if (head.startsWith("POST")) await connection.untilClosed();
    }
  });
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: LISTEN });
  using connection = await proxy.connect();
  const length = SMUGGLED.length + 1;
  await connection.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\na`);
  assertEquals((await connection.readResponse()).status, 200);
  await connection.write(SMUGGLED.slice(0, 9));
  await connection.write(SMUGGLED.slice(9) + LAST);
  assertEquals((await connection.readResponse()).status, 200);
  await connection.untilClosed();
  assertEquals(heads, ["POST / HTTP/1.1", "GET /last HTTP/1.1"]);
});

Deno.test("content that nobody reads is skipped up to 64 KiB, and ends the connection beyond", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    requestFilter: (request) => request.method === "POST" ? new Response("no", { status: 403 }) : undefined,
    listen: LISTEN,
  });
  const most = 64 * 1024;
  for (const [length, served] of [[most, 1], [most + 1, 0]] as const) {
    upstream.requests.length = 0;
    using connection = await proxy.connect();
    await connection.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\n`);
    assertEquals((await connection.readResponse()).status, 403);
    await connection.write("x".repeat(length) + LAST).catch(() => {});
    await connection.untilClosed();
    assertEquals(upstream.requests.length, served, `${length} bytes`);
  }
});
