import { assertEquals } from "@std/assert";
import type { UpstreamError } from "../../../lib/core/errors.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { OK, recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";

/** An upstream that takes requests and says nothing. */
function silent() {
  return rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.untilClosed();
  });
}

eachTransport("timeouts.total is for all attempts together", async (start) => {
  await using one = silent();
  await using two = silent();
  await using proxy = await start({
    upstreams: { servers: [one.address, two.address], timeouts: { total: "200ms" } },
  });
  assertEquals((await proxy.ask()).status, 504);
  assertEquals((await proxy.seen.untilEntries(1)).attempts, 1);
  assertEquals(one.opened + two.opened, 1);
});

eachTransport("timeouts.total counts what filters have taken", async (start) => {
  await using upstream = recordingUpstream(OK);
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  await using proxy = await start({
    upstreams: { servers: [upstream.address], timeouts: { total: "50ms" } },
    requestFilter: () => void Atomics.wait(nobody, 0, 0, 100),
  });
  const answer = await proxy.ask("POST /");
  assertEquals([answer.status, answer.field("proxy-status")], [504, "lbproxy; error=http_response_timeout"]);
  assertEquals(upstream.requests.length, 0);
});

eachTransport("timeouts.total is for the content of the client as well", async (start) => {
  await using upstream = recordingUpstream(OK);
  await using proxy = await start({
    upstreams: { servers: [upstream.address], timeouts: { total: "100ms" } },
  });
  assertEquals((await proxy.ask("POST /", ["Content-Length: 3"], "ab")).status, 408);
  assertEquals(upstream.requests.length, 0);
});

eachTransport("timeouts.total of a route ends the wait for a server with room", async (start) => {
  await using upstream = silent();
  await using proxy = await start({
    upstreams: {
      servers: [{ address: upstream.address, maxInFlight: 1 }],
      queue: { timeout: "1m" },
    },
    routes: [
      { match: { path: "/hurried" }, timeouts: { total: "50ms" } },
      // There is room after a while for those who wait on.
      { match: {}, timeouts: { total: "3s" } },
    ],
  });
  using busy = await proxy.connect();
  await busy.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await upstream.untilOpen(1);
  const answer = await proxy.ask("GET /hurried");
  assertEquals([answer.status, answer.field("retry-after") !== undefined], [503, true]);
  assertEquals(upstream.opened, 1);
});

eachTransport("timeouts.total is not held against a server that was given little of it", async (start) => {
  await using upstream = silent();
  await using proxy = await start({
    upstreams: {
      servers: [upstream.address, "127.0.0.1:1"],
      balance: "first",
      timeouts: { total: "200ms" },
      ejection: { consecutiveFailures: 1, maxEjectedPercent: 100 },
    },
    requestFilter: () => new Promise((resolve) => setTimeout(resolve, 150)),
  });
  assertEquals((await proxy.ask()).status, 504);
  assertEquals(proxy.servers[0]!.ejected, false);
});

for (
  const phase of ["requestFilter", "requestBodyFilter", "upstreamPeer", "upstreamRequestFilter"] as const
) {
  eachTransport(`timeouts.total ends the wait for ${phase}`, async (start) => {
    await using upstream = recordingUpstream(OK);
    await using proxy = await start({
      upstreams: {
        servers: [upstream.address, "127.0.0.1:1"],
        balance: "first",
        timeouts: { total: "100ms" },
        ejection: { consecutiveFailures: 1 },
      },
      [phase]: () => new Promise(() => {}),
    });
    const answer = await proxy.ask("POST /", ["Content-Length: 1"], "x");
    assertEquals([answer.status, answer.field("proxy-status")], [
      504,
      "lbproxy; error=http_response_timeout",
    ]);
    assertEquals(upstream.requests.length, 0);
    assertEquals(proxy.servers[0]!.ejected, false);
  });

  eachTransport(`a client that goes away ends the wait for ${phase}`, async (start) => {
    await using upstream = recordingUpstream(OK);
    const waiting = Promise.withResolvers<void>();
    let logged = 0;
    await using proxy = await start({
      upstreams: [upstream.address],
      [phase]: () => {
        waiting.resolve();
        return new Promise(() => {});
      },
      logging: () => void logged++,
    });
    {
      using client = await proxy.connect();
      await client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
      await waiting.promise;
    }
    assertEquals((await proxy.seen.untilEntries(1)).status, 499);
    assertEquals(logged, 1);
  });
}

eachTransport("ProxyServer.shutdown() ends the wait for a filter with the grace period", async (start) => {
  await using upstream = recordingUpstream(OK);
  const waiting = Promise.withResolvers<void>();
  await using proxy = await start({
    upstreams: [upstream.address],
    gracePeriod: 50,
    requestFilter: () => {
      waiting.resolve();
      return new Promise(() => {});
    },
  });
  const asked = proxy.ask();
  await waiting.promise;
  await proxy.server.shutdown();
  assertEquals((await asked).status, 503);
});

eachTransport("timeouts.total leaves nothing behind of content that stops in the middle", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab");
    await connection.untilClosed();
  });
  await using proxy = await start({
    upstreams: { servers: [upstream.address], timeouts: { total: "60ms" } },
  });
  for (let n = 1; n <= 6; n++) {
    // Cut off, or 504 as long as the head has not been handed on.
    await proxy.ask().catch(() => null);
    await proxy.seen.untilEntries(n);
    assertEquals([proxy.servers[0]!.inFlight, proxy.seen.entries.length], [0, n]);
    assertEquals(proxy.seen.entries.at(-1)!.error, "http_response_timeout");
  }
});

eachTransport("timeouts.total over while a filter has a server's answer is told as that", async (start) => {
  await using upstream = recordingUpstream(OK);
  const failures: unknown[] = [];
  await using proxy = await start({
    upstreams: { servers: [upstream.address], timeouts: { total: "1s" } },
    responseFilter: () => new Promise(() => {}),
    failToProxy: (error) => void failures.push([error.message, (error as UpstreamError).phase]),
  });
  assertEquals((await proxy.ask()).status, 504);
  assertEquals(failures, [["The exchange took longer than it may after a server had answered", "answered"]]);
});

Deno.test("timeouts.total ends the wait for the response of a limit", async () => {
  await using proxy = await startProxy({
    upstreams: { servers: ["127.0.0.1:1"], timeouts: { total: "100ms" } },
    limiter: { key: "ip", limit: 0, window: "1s", response: () => new Promise(() => {}) },
  });
  assertEquals((await proxy.ask()).status, 504);
});

/** An upstream whose answers begin, and stay without their end. */
function endless() {
  return rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n${"a".repeat(100_000)}`);
    await connection.untilClosed();
  });
}

for (const phase of ["upstreamResponseFilter", "responseFilter", "responseBodyFilter"] as const) {
  eachTransport(`timeouts.total ends the wait for ${phase} while content streams`, async (start) => {
    await using upstream = endless();
    await using proxy = await start({
      upstreams: { servers: [upstream.address], timeouts: { total: "100ms" } },
      [phase]: () => new Promise(() => {}),
    });
    const answer = await proxy.ask();
    assertEquals(answer.field("proxy-status"), "lbproxy; error=http_response_timeout");
    assertEquals([answer.status, proxy.servers[0]!.inFlight, proxy.seen.entries.length], [504, 0, 1]);
  });

  for (const small of [true, false]) {
    eachTransport(
      `a client that goes away ends the wait for ${phase}, with ${small ? "small" : "streaming"} content`,
      async (start) => {
        await using upstream = small ? recordingUpstream(OK) : endless();
        const waiting = Promise.withResolvers<void>();
        await using proxy = await start({
          upstreams: [upstream.address],
          [phase]: () => {
            waiting.resolve();
            return new Promise(() => {});
          },
        });
        {
          using client = await proxy.connect();
          await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
          await waiting.promise;
        }
        assertEquals((await proxy.seen.untilEntries(1)).status, 499);
        assertEquals(proxy.servers[0]!.inFlight, 0);
      },
    );
  }
}

eachTransport(
  "timeouts.total aborts the signal of the filter that it does not wait for any longer",
  async (start) => {
    await using upstream = recordingUpstream(OK);
    const aborted = Promise.withResolvers<unknown>();
    await using proxy = await start({
      upstreams: { servers: [upstream.address], timeouts: { total: "50ms" } },
      requestFilter: (_request, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            aborted.resolve(signal.reason.code);
            reject(signal.reason);
          });
        }),
    });
    assertEquals((await proxy.ask()).status, 504);
    assertEquals(await aborted.promise, "http_response_timeout");
  },
);
