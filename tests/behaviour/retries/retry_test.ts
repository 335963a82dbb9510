import { assertEquals, assertRejects } from "@std/assert";
import { checksum, patternStream } from "../../support/checksum.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport, transportCan } from "../../support/each_transport.ts";
import { latin1Text } from "../../support/raw_connection.ts";
import { type RawUpstream, rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { resettingUpstream } from "../../support/resetting_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const KIB = 1024;

/** A server that reads at least so much of each request's content, then closes without an answer. */
function quitter(readBytes: number): RawUpstream & { heads: string[] } {
  const heads: string[] = [];
  const upstream = rawUpstream(async (connection) => {
    heads.push((await connection.readHead())!);
    for (let bytes = 0; bytes < readBytes;) bytes += (await connection.read())!.length;
  });
  return Object.assign(upstream, { heads });
}

for (const method of ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "PROPFIND"]) {
  eachTransport(`proxy sends ${method} elsewhere when a server cannot be connected to`, async (start) => {
    await using good = recordingUpstream();
    await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`, good.address] });
    const content = method !== "GET" && method !== "HEAD";
    for (let i = 0; i < 2; i++) {
      const answer = await proxy.ask(
        `${method} /`,
        content ? ["Content-Length: 3"] : [],
        content ? "abc" : "",
      );
      assertEquals(answer.status, 200);
    }
    assertEquals(good.requests.map(({ body }) => latin1Text(body)), Array(2).fill(content ? "abc" : ""));
    const { attempts, error } = await proxy.seen.untilEntries(1);
    assertEquals({ attempts, error }, { attempts: 2, error: null });
  });
}

eachTransport(
  "proxy sends a long upload elsewhere, whole, when a server cannot be connected to",
  async (start) => {
    await using good = startUpstream({
      handler: async (request) => Response.json(await checksum(request.body)),
    });
    await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`, good.address] });
    const response = await proxy.fetch("/", { method: "POST", body: patternStream(1000 * KIB) });
    assertEquals(await response.json(), await checksum(patternStream(1000 * KIB)));
  },
);

eachTransport("proxy asks each server only once, and gives the last failure", async (start) => {
  const dead = Array.from({ length: 3 }, () => `127.0.0.1:${deadPort()}`);
  await using proxy = await start({ upstreams: [...new Set(dead)] });
  const answer = await proxy.ask();
  assertEquals([answer.status, answer.field("proxy-status")], [502, "lbproxy; error=connection_refused"]);
  assertEquals((await proxy.seen.untilEntries(1)).attempts, new Set(dead).size);
});

for (const method of ["GET", "PUT", "DELETE"]) {
  eachTransport(`proxy sends ${method} elsewhere when a server resets the connection`, async (start) => {
    await using bad = await resettingUpstream();
    await using good = startUpstream("good");
    await using proxy = await start({ upstreams: [bad.address, good.address] });
    const answer = method === "GET"
      ? await proxy.ask()
      : await proxy.ask(`${method} /`, ["Content-Length: 3"], "abc");
    assertEquals([answer.status, answer.text], [200, "good"]);
    assertEquals(bad.requests >= 1, true);
    assertEquals(good.seen.map(({ body }) => body), [method === "GET" ? "" : "abc"]);
    assertEquals((await proxy.seen.untilEntries(1)).attempts, 2);
  });
}

for (const method of ["POST", "PATCH"]) {
  eachTransport(
    `proxy does not send ${method} again once a server may have seen it`,
    async (start, transport) => {
      if (!transportCan(transport, "send before the server has spoken")) return;
      await using bad = await resettingUpstream();
      await using good = startUpstream("good");
      await using proxy = await start({ upstreams: [bad.address, good.address] });
      const answer = await proxy.ask(`${method} /`, ["Content-Length: 3"], "abc");
      assertEquals(answer.status, 502);
      assertEquals(answer.field("proxy-status"), "lbproxy; error=connection_terminated");
      assertEquals([bad.requests, good.requests], [1, 0]);
    },
  );
}

eachTransport("proxy does not send a POST again that a kept connection was closed under", async (start) => {
  const targets: string[] = [];
  await using upstream = rawUpstream(async (connection) => {
    for (;;) {
      const request = await connection.readRequest();
      if (request === null) return;
      targets.push(request.startLine);
      if (request.startLine.includes("/quit")) return;
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  for (const lines of [["Content-Length: 3"], ["Transfer-Encoding: chunked"]]) {
    assertEquals((await proxy.ask("GET /warm")).status, 200);
    const body = lines[0]!.startsWith("C") ? "abc" : "3\r\nabc\r\n0\r\n\r\n";
    assertEquals((await proxy.ask("POST /quit", lines, body)).status, 502);
  }
  assertEquals(targets.filter((line) => line.startsWith("POST")).length, 2);
});

eachTransport("proxy asks nobody else once the head of an answer has come", async (start) => {
  await using bad = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${"a".repeat(200_000)}`);
  });
  await using good = startUpstream("good");
  await using proxy = await start({ upstreams: [bad.address, good.address] });
  await assertRejects(() => proxy.ask());
  const { attempts, error } = await proxy.seen.untilEntries(1);
  assertEquals({ attempts, error }, { attempts: 1, error: "http_response_incomplete" });
  assertEquals(good.requests, 0);
});

eachTransport("proxy answers 504 when the only server does not answer in time", async (start) => {
  await using slow = rawUpstream((connection) => connection.untilClosed());
  const timeouts = { connect: "100ms", response: "100ms" };
  await using proxy = await start({ upstreams: { servers: [slow.address], timeouts } });
  const answer = await proxy.ask();
  assertEquals([answer.status, answer.field("proxy-status")], [504, "lbproxy; error=http_response_timeout"]);
  await slow.untilOpen(0);
});

eachTransport("proxy sends a GET elsewhere that was not answered in time, but not a POST", async (start) => {
  await using slow = rawUpstream((connection) => connection.untilClosed());
  await using good = startUpstream("good");
  const timeouts = { connect: "100ms", response: "100ms" };
  await using proxy = await start({ upstreams: { servers: [slow.address, good.address], timeouts } });
  assertEquals((await proxy.ask()).text, "good");
  assertEquals((await proxy.ask()).text, "good");
  assertEquals((await proxy.ask("POST /", ["Content-Length: 1"], "x")).status, 504);
  assertEquals(good.requests, 2);
});

eachTransport("proxy sends a streamed content again as long as it has kept all of it", async (start) => {
  const size = 60 * KIB;
  await using bad = quitter(size);
  await using good = startUpstream({
    handler: async (request) => Response.json(await checksum(request.body)),
  });
  await using proxy = await start({ upstreams: [bad.address, good.address] });
  const response = await proxy.fetch("/", { method: "PUT", body: patternStream(size) });
  assertEquals(await response.json(), await checksum(patternStream(size)));
  assertEquals(bad.heads.length, 1);
});

eachTransport("proxy does not send a streamed content again that was too long to keep", async (start) => {
  await using bad = quitter(300 * KIB);
  await using good = startUpstream("good");
  await using proxy = await start({ upstreams: [bad.address, good.address] });
  const response = await proxy.fetch("/", { method: "PUT", body: patternStream(1000 * KIB) });
  await response.body?.cancel();
  assertEquals(response.status, 502);
  assertEquals([bad.heads.length, good.requests], [1, 0]);
});

eachTransport("proxy runs upstreamRequestFilter on a fresh copy for each attempt", async (start) => {
  await using good = recordingUpstream();
  const seen: string[] = [];
  await using proxy = await start({
    upstreams: [`127.0.0.1:${deadPort()}`, good.address],
    upstreamRequestFilter: (request, ctx) => {
      seen.push(ctx.server!.address);
      request.headers.append("x-attempt", String(ctx.attempts.length));
      request.target += "/more";
    },
  });
  await proxy.ask("GET /x");
  assertEquals(good.requests[0]!.startLine, "GET /x/more HTTP/1.1");
  assertEquals(good.sent("x-attempt"), ["2"]);
  assertEquals(seen.length, 2);
  assertEquals(seen[1], good.address);
});

eachTransport("proxy repeats a request only if the method that a filter has set allows it", async (start) => {
  await using upstream = quitter(0);
  await using good = recordingUpstream();
  await using proxy = await start({
    upstreams: [upstream.address, good.address],
    upstreamRequestFilter: (request) => {
      if (request.target === "/post") request.method = "POST";
    },
  });
  const statuses = new Set<number>();
  for (let i = 0; i < 2; i++) statuses.add((await proxy.ask("GET /post")).status);
  assertEquals([...statuses].sort(), [200, 502]);
  assertEquals([upstream.heads.length, good.requests.length], [1, 1]);
});
