import { assertEquals, assertMatch } from "@std/assert";
import type { Listen } from "../../../lib/config/listen_options.ts";
import { ENGINE, engineCan } from "../../support/engine.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport, type TransportName } from "../../support/each_transport.ts";
import { rawClient } from "../../support/raw_client.ts";
import type { RawMessage } from "../../support/raw_connection.ts";
import { type RawUpstream, rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";

const MARK = /^lbproxy-[0-9a-f-]{18}$/;

/** Where a proxy listens that another one asks by this transport. */
function placeFor(transport: TransportName, port: number): Listen {
  const http2 = transport === "h2" && ENGINE === "http1";
  return http2 ? { hostname: "127.0.0.1", port, http2 } : `127.0.0.1:${port}`;
}

/** A proxy that passes every field as it came, and has none of its own: as nginx does without a word of configuration. */
function quietRelay(port: number, edit = (request: RawMessage) => request.head): RawUpstream {
  return rawUpstream(async (connection) => {
    for (
      let request = await connection.readRequest();
      request !== null;
      request = await connection.readRequest()
    ) {
      using onward = await rawClient(port);
      await onward.write(edit(request));
      const { head, body } = await onward.readResponse();
      await connection.write(head);
      await connection.write(body);
    }
  });
}

eachTransport("proxy that is its own server answers 508 in the second round", async (start, transport) => {
  for (
    const forwarded of [{}, { via: true }, { xForwarded: false }, { xForwarded: false, forwarded: true }]
  ) {
    const port = deadPort();
    await using proxy = await start({
      listen: placeFor(transport, port),
      upstreams: [`127.0.0.1:${port}`],
      forwarded,
    });
    const answer = await proxy.ask("GET /");
    assertEquals([answer.status, answer.field("proxy-status")], [508, "lbproxy; error=proxy_loop_detected"]);
    assertEquals((await proxy.ask("POST /", ["Content-Length: 3"], "abc")).status, 508);
    // Without a field of its own to go by, the first request is marked already.
    const rounds = forwarded.xForwarded === false && forwarded.forwarded === undefined ? 2 : 3;
    await proxy.seen.untilEntries(2 * rounds);
    assertEquals(proxy.seen.entries.map(({ status }) => status), Array(2 * rounds).fill(508));
    const { code, source, message } = proxy.seen.eventsOf("request_failure")[0]!;
    assertEquals([code, source], ["proxy_loop_detected", "proxy"]);
    assertMatch(message, /leads back to this proxy/);
  }
}, { ignore: !engineCan("be a server of a proxy") });

eachTransport("proxies that are each other's servers answer 508", async (start, transport) => {
  const port = deadPort();
  await using first = await start({ listen: placeFor(transport, 0), upstreams: [`127.0.0.1:${port}`] });
  await using second = await start({ listen: placeFor(transport, port), upstreams: [first.address] });
  assertEquals((await first.ask("GET /")).status, 508);
  await first.seen.untilEntries(2);
  await second.seen.untilEntries(2);
  assertEquals([first.seen.entries.length, second.seen.entries.length], [2, 2]);
}, { ignore: !engineCan("be a server of a proxy") });

eachTransport(
  "proxy answers 508 to what comes back through a proxy that says nothing of itself",
  async (start) => {
    await using upstream = recordingUpstream();
    await using proxy = await start({ upstreams: [upstream.address] });
    await using relay = quietRelay(proxy.port);
    proxy.server.pools.get("default")!.replaceServers([relay.address]);
    assertEquals((await proxy.ask("GET /")).status, 508);
    await proxy.seen.untilEntries(3);
    assertEquals([proxy.seen.entries.length, upstream.requests.length], [3, 0]);
  },
);

Deno.test("proxy opens no WebSocket to itself", {
  ignore: !engineCan("be a server of a proxy"),
}, async () => {
  const port = deadPort();
  await using proxy = await startProxy({ listen: `127.0.0.1:${port}`, upstreams: [`127.0.0.1:${port}`] });
  const answer = await proxy.ask("GET /", [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ]);
  assertEquals(answer.status, 508);
});

eachTransport(
  "proxy marks no request of a client, and those of proxies at the end of CDN-Loop",
  async (start, transport) => {
    await using upstream = recordingUpstream();
    await using inner = await start({ listen: placeFor(transport, 0), upstreams: [upstream.address] });
    await using outer = await start({ upstreams: [inner.address] });
    const sent = async (proxy: TestProxy, lines: string[]) => {
      assertEquals((await proxy.ask("GET /", lines)).status, 200);
      return upstream.sent("cdn-loop").join(", ").split(", ").filter((each) => each !== "");
    };
    assertEquals(await sent(inner, []), []);
    // Two proxies of one kind in a row are no loop, and neither is what somebody makes up.
    const [mark, ...none] = await sent(outer, []);
    assertMatch(mark!, MARK);
    assertEquals(none, []);
    assertEquals(await sent(inner, ["CDN-Loop: a.example; x=1", "CDN-Loop: lbproxy"]), [
      "a.example; x=1",
      "lbproxy",
      mark!,
    ]);
    for (const line of ["Via: 1.1 other", "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"]) {
      assertEquals(await sent(inner, [line]), [mark!], line);
    }
    // Whoever knows the name has only its own requests refused.
    assertEquals((await inner.ask("GET /", [`CDN-Loop: ${mark}`])).status, 508);
    assertEquals(await sent(inner, []), []);
  },
  { ignore: !engineCan("be a server of a proxy") },
);

eachTransport("proxy leaves CDN-Loop alone where that is wanted", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address], forwarded: { cdnLoop: false } });
  await proxy.ask("GET /", ["Via: 1.1 other"]);
  assertEquals(upstream.sent("cdn-loop"), []);
  await proxy.ask("GET /", ["CDN-Loop: a.example"]);
  assertEquals(upstream.sent("cdn-loop"), ["a.example"]);
});
