import { assertEquals, assertThrows } from "@std/assert";
import type { Filters } from "../../../lib/filter/filters.ts";
import { maxBodySize } from "../../../lib/filters/max_body_size.ts";
import { mirror, type MirrorOptions } from "../../../lib/filters/mirror.ts";
import { rewritePath } from "../../../lib/filters/redirect_and_rewrite.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { latin1Text } from "../../support/raw_connection.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

eachTransport("mirror() sends a copy of what goes to the server, content included", async (start) => {
  await using upstream = recordingUpstream();
  await using shadow = recordingUpstream(
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbad",
  );
  await using proxy = await start({
    upstreams: [upstream.address],
    filters: [rewritePath("/api", "/v1"), mirror({ to: shadow.address })],
  });
  const bodies: [string[], string][] = [
    [[], ""],
    [["Content-Length: 3"], "abc"],
    [["Transfer-Encoding: chunked"], "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"],
  ];
  for (const [n, [lines, body]] of bodies.entries()) {
    const { status, text } = await proxy.ask("POST /api/a%2Fb?c", [...lines, "X-Field: 1"], body);
    assertEquals([status, text], [200, "ok"]);
    await shadow.untilRequests(n + 1);
    const [sent, copied] = [upstream.requests.at(-1)!, shadow.requests.at(-1)!];
    assertEquals(copied.startLine, "POST /v1/a%2Fb?c HTTP/1.1");
    assertEquals([copied.startLine, copied.body], [sent.startLine, sent.body]);
    assertEquals(shadow.sent("x-field"), ["1"]);
    assertEquals(shadow.sent("host"), upstream.sent("host"));
  }
  assertEquals(upstream.requests.length, 3);
});

eachTransport(
  "mirror() and maxBodySize() keep the length that the filters before them have made",
  async (start) => {
    const doubled = (body: ReadableStream<Uint8Array<ArrayBuffer>>) =>
      body.pipeThrough(
        new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
          transform(piece, controller) {
            controller.enqueue(piece);
            controller.enqueue(piece);
          },
        }),
      );
    const unknown: Filters = { requestBodyFilter: doubled };
    const late: Filters = { requestBodyFilter: (body) => Promise.resolve(doubled(body)) };
    const known: Filters = { requestBodyFilter: (body) => ({ body: doubled(body), length: 6 }) };
    const cases: [Filters[], string | undefined, string][] = [
      [[], "3", "abc"],
      [[unknown], undefined, "abcabc"],
      [[late], undefined, "abcabc"],
      [[known], "6", "abcabc"],
    ];
    for (const [filters, length, content] of cases) {
      await using upstream = recordingUpstream();
      await using shadow = recordingUpstream();
      await using proxy = await start({
        upstreams: [upstream.address],
        filters: [...filters, maxBodySize("1MB"), mirror({ to: shadow.address })],
      });
      assertEquals((await proxy.ask("POST /", ["Content-Length: 3"], "abc")).status, 200);
      await shadow.untilRequests(1);
      assertEquals(upstream.sent("content-length")[0], length);
      for (const { requests } of [upstream, shadow]) assertEquals(latin1Text(requests[0]!.body), content);
    }
  },
);

Deno.test("mirror() copies a share, in turn to several servers, and only where it is to", async () => {
  await using upstream = startUpstream();
  await using one = recordingUpstream();
  await using two = recordingUpstream();
  const random = seededRandom(1);
  const expected = seededRandom(1);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [mirror({
      to: [one.address, { address: two.address }],
      share: 0.3,
      random,
      when: ({ target }) => target !== "/not",
    })],
  });
  let copies = 0;
  for (let n = 0; n < 60; n++) {
    await proxy.ask(n % 2 === 0 ? "GET /" : "GET /not");
    if (expected() >= 0.3 || n % 2 !== 0) continue;
    await (copies % 2 === 0 ? one : two).untilRequests(Math.floor(copies / 2) + 1);
    copies++;
  }
  assertEquals(one.requests.length + two.requests.length, copies);
  assertEquals(copies > 0 && copies < 30, true, String(copies));
});

Deno.test("mirror() sends copies to the servers of a pool that may be used at the moment", async () => {
  await using upstream = startUpstream();
  await using one = recordingUpstream();
  await using two = recordingUpstream();
  await using spare = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: {
      default: { servers: [upstream.address] },
      next: { servers: [one.address, two.address, { address: spare.address, backup: true }] },
    },
    filters: [mirror({ to: { pool: "next" } })],
  });
  const servers = proxy.server.pools.get("next")!;
  await proxy.ask();
  await one.untilRequests(1);
  await proxy.ask();
  await two.untilRequests(1);
  servers.setDraining(one.address, true);
  for (let n = 2; n < 4; n++) {
    await proxy.ask();
    await two.untilRequests(n);
  }
  servers.removeServer(two.address);
  await proxy.ask();
  await spare.untilRequests(1);
  servers.removeServer(spare.address);
  assertEquals((await proxy.ask()).status, 200);
  await proxy.seen.until(() => proxy.seen.eventsOf("request_log").length === 1);
  assertEquals(proxy.seen.eventsOf("request_log").map(({ level, message }) => [level, message]), [
    ["debug", 'Cannot mirror to the pool "next": none of its servers can be used'],
  ]);
  assertEquals([one, two, spare].map(({ requests }) => requests.length), [1, 3, 1]);
});

Deno.test("mirror() warns of a pool that is not there, and the request goes on", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [mirror({ to: { pool: "nxt" }, maxInFlight: 1 })],
  });
  for (let n = 0; n < 2; n++) assertEquals((await proxy.ask()).status, 200);
  assertEquals(proxy.seen.eventsOf("request_log").map(({ level, message }) => [level, message]), [
    ["warn", 'Cannot mirror to the pool "nxt": there are "default"'],
    ["warn", 'Cannot mirror to the pool "nxt": there are "default"'],
  ]);
});

Deno.test("mirror() neither slows nor fails requests when copies hang or fail, and makes no more than it may", async () => {
  await using upstream = startUpstream();
  // Takes connections and never answers.
  const held = Promise.withResolvers<void>();
  await using hanging = rawUpstream(() => held.promise);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [mirror({ to: `127.0.0.1:${deadPort()}` }), mirror({ to: hanging.address, maxInFlight: 3 })],
  });
  for (let n = 0; n < 20; n++) {
    assertEquals((await proxy.ask("POST /", ["Content-Length: 3"], "abc")).text, "upstream");
  }
  await hanging.untilOpened(3);
  assertEquals(hanging.opened, 3);
  held.resolve();
  await proxy.seen.until(() => proxy.seen.eventsOf("request_log").length >= 23);
  const [event] = proxy.seen.eventsOf("request_log");
  assertEquals([event?.level, event?.message], ["debug", "A mirrored request failed"]);
  // The places are free again.
  await proxy.ask("GET /");
  await hanging.untilOpened(4);
});

Deno.test("mirror() gives up a copy in time, and reads what a server says without keeping it", async () => {
  await using upstream = startUpstream();
  await using endless = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const chunk = `10000\r\n${"a".repeat(65536)}\r\n`;
    for (let n = 0; n < 1_000_000; n++) await connection.write(chunk);
  });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [mirror({ to: endless.address, timeout: "300ms" })],
  });
  assertEquals((await proxy.ask()).text, "upstream");
  await proxy.seen.until(() => proxy.seen.eventsOf("request_log").length === 1);
  await endless.untilOpen(0);
});

Deno.test("mirror() does not copy long content, nor what the client did not finish, nor what was not let through", async () => {
  await using upstream = startUpstream();
  await using shadow = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [
      mirror({ to: shadow.address, maxBodySize: 100, maxInFlight: 1 }),
      { requestFilter: (_request, { target }) => target === "/own" ? new Response("own") : undefined },
    ],
  });
  const long = await proxy.ask("POST /long", ["Content-Length: 101"], "a".repeat(101));
  assertEquals([long.text, upstream.seen[0]?.body.length], ["upstream", 101]);
  assertEquals((await proxy.ask("GET /own")).text, "own");
  {
    using connection = await proxy.connect();
    await connection.write(
      "POST /unfinished HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    );
  }
  await proxy.seen.untilEntries(3);
  // The only place is free each time.
  await proxy.ask("GET /last");
  await shadow.untilRequests(1);
  assertEquals(shadow.requests.map(({ startLine }) => startLine), ["GET /last HTTP/1.1"]);
});

Deno.test("mirror() calls copies off when their proxy stops, and copies on in another one", async () => {
  await using upstream = startUpstream();
  // Never responds.
  await using hanging = rawUpstream((connection) => connection.untilClosed());
  const config = {
    upstreams: [upstream.address],
    filters: [mirror({ to: hanging.address, timeout: "1h" })],
  };
  await using other = await startProxy(config);
  {
    await using proxy = await startProxy(config);
    await proxy.ask("POST /", ["Content-Length: 3"], "abc");
    await hanging.untilOpened(1);
    await proxy.server.shutdown();
    await hanging.untilOpen(0);
    assertEquals(proxy.seen.eventsOf("request_log").map(({ message, fields }) => [message, fields]), [
      ["A mirrored request failed", { reason: "The proxy stops" }],
    ]);
  }
  await other.ask();
  await hanging.untilOpened(2);
});

Deno.test("mirror() refuses options that cannot be meant", () => {
  const wrong: [MirrorOptions, string][] = [
    [{ to: "no address" }, '"to" must be "host:port"'],
    [{ to: [] }, '"to" must be an address'],
    [{ to: "127.0.0.1:1", share: 2 }, '"share"'],
    [{ to: "127.0.0.1:1", share: NaN }, '"share"'],
    [{ to: "127.0.0.1:1", maxInFlight: 0 }, '"maxInFlight"'],
    [{ to: "127.0.0.1:1", maxBodySize: "x" }, '"maxBodySize"'],
    [{ to: "127.0.0.1:1", timeout: 0 }, '"timeout"'],
  ];
  for (const [options, message] of wrong) assertThrows(() => mirror(options), TypeError, message);
  const TARGETS = 'must be an address, { address, tls }, { pool: "name" } or an array of these';
  for (
    const [to, message] of [
      [null, `"to" ${TARGETS}`],
      [[null], `"to[0]" ${TARGETS}`],
      [5, `"to" ${TARGETS}`],
      [{}, '"to.address" is required'],
      [{ pool: 5 }, '"to.pool" must be the name of a pool'],
      [{ address: 5 }, '"to.address" must be "host:port"'],
    ]
  ) {
    assertThrows(() => mirror({ to } as unknown as MirrorOptions), TypeError, message as string);
  }
});
