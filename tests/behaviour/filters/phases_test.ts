import { assertEquals, assertStringIncludes } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { ENGINE, engineCan } from "../../support/engine.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import type { Filters } from "../../../lib/filter/filters.ts";

/** What a filter gives back, now or in a promise. */
const kinds: [string, <T>(value: T) => T | Promise<T>][] = [
  ["at once", (value) => value],
  ["later", (value) => Promise.resolve(value)],
];

for (const [kind, give] of kinds) {
  eachTransport(`filters of several sets run in order, and back in reverse, ${kind}`, async (start) => {
    await using upstream = startUpstream();
    const ran: string[] = [];
    const set = (name: string): Filters => {
      const note = (phase: string) => give(void ran.push(`${phase} ${name}`));
      return {
        requestFilter: () => note("request"),
        requestBodyFilter: () => note("requestBody"),
        upstreamPeer: () => note("peer"),
        upstreamRequestFilter: () => note("upstreamRequest"),
        upstreamResponseFilter: () => note("upstreamResponse"),
        responseFilter: () => note("response"),
        responseBodyFilter: () => note("responseBody"),
        failToProxy: () => note("fail"),
        logging: () => note("logging"),
      };
    };
    await using proxy = await start({ upstreams: [upstream.address], ...set("1"), filters: [set("2")] });
    const answer = await proxy.ask("POST /", ["Content-Length: 3"], "abc");
    assertEquals([answer.status, answer.text], [200, "upstream"]);
    await proxy.seen.untilEntries(1);
    const forth = ["request", "requestBody", "peer", "upstreamRequest"];
    const back = ["upstreamResponse", "response", "responseBody", "logging"];
    assertEquals(ran, [
      ...forth.flatMap((phase) => [`${phase} 1`, `${phase} 2`]),
      ...back.flatMap((phase) => [`${phase} 2`, `${phase} 1`]),
    ]);
  });

  eachTransport(
    `upstreamResponseFilter edits or replaces before the proxy adds its fields, ${kind}`,
    async (start) => {
      await using upstream = recordingUpstream(
        "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + "a".repeat(200_000),
      );
      const saw: unknown[] = [];
      await using proxy = await start({
        upstreams: [upstream.address],
        limiter: { key: "ip", limit: 10, window: "1m" },
        upstreamResponseFilter: (response, ctx) => {
          saw.push(response.headers.has("ratelimit"));
          response.status = 203;
          if (ctx.target === "/replaced") {
            return give(new Response("new", { status: 201, headers: { "x-new": "1" } }));
          }
          return give(undefined);
        },
        responseFilter: (response) => {
          saw.push(response.headers.has("ratelimit"), response.status);
          response.headers.set("x-last", "1");
          return give(undefined);
        },
      });
      const edited = await proxy.ask("GET /");
      assertEquals([edited.status, edited.text.length, edited.field("x-last")], [203, 200_000, "1"]);
      const replaced = await proxy.ask("GET /replaced");
      assertEquals(
        [replaced.status, replaced.text, replaced.field("x-new"), replaced.field("x-last")],
        [201, "new", "1", "1"],
      );
      assertEquals(saw, [false, true, 203, false, true, 201]);
      await proxy.seen.untilEntries(2);
    },
  );

  eachTransport(`failToConnect is told of each failure before anything was sent, ${kind}`, async (start) => {
    await using upstream = startUpstream();
    const told: unknown[] = [];
    await using proxy = await start({
      upstreams: [`127.0.0.1:${deadPort()}`, upstream.address],
      failToConnect: (error, ctx) => {
        told.push([error.code, ctx.server === ctx.attempts.at(-1), ctx.attempts.length]);
        if (ctx.target === "/once") ctx.retry(false);
        return give(undefined);
      },
    });
    const statuses: number[] = [];
    for (const target of ["/", "/", "/once", "/once"]) {
      statuses.push((await proxy.ask(`POST ${target}`, ["Content-Length: 1"], "a")).status);
    }
    // The other server takes what the dead one could not be given, unless that is forbidden.
    assertEquals([statuses.slice(0, 2), statuses.slice(2).includes(502)], [[200, 200], true]);
    assertEquals(
      new Set(told.map((each) => JSON.stringify(each))),
      new Set(['["connection_refused",true,1]']),
    );
  });

  eachTransport(
    `failToConnect that throws gives a 500, and everything is released, ${kind}`,
    async (start) => {
      await using proxy = await start({
        upstreams: [`127.0.0.1:${deadPort()}`],
        failToConnect: () => {
          if (kind === "at once") throw new Error("secret");
          return Promise.reject(new Error("secret"));
        },
      });
      const { status, text } = await proxy.ask();
      assertEquals([status, text.includes("secret")], [500, false]);
      const entry = await proxy.seen.untilEntries(1);
      assertEquals([entry.status, entry.error], [500, "proxy_internal_error"]);
    },
  );
}

eachTransport("failToConnect is not told of failures that a server may have seen", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
  });
  let told = 0;
  await using proxy = await start({ upstreams: [upstream.address], failToConnect: () => void told++ });
  assertEquals([(await proxy.ask()).status, told], [502, 0]);
});

for (
  const phase of [
    "newContext",
    "requestFilter",
    "requestBodyFilter",
    "upstreamPeer",
    "upstreamRequestFilter",
    "upstreamResponseFilter",
    "responseFilter",
    "responseBodyFilter",
  ] as const
) {
  eachTransport(
    `${phase} of a filter set that throws gives a 500, its stack to the log, and ends once`,
    async (start) => {
      await using upstream = startUpstream();
      let logged = 0;
      const bad = {
        [phase]: () => {
          throw new Error("secret");
        },
      };
      await using proxy = await start({
        upstreams: [upstream.address],
        filters: [{ logging: () => void logged++ }, bad, {}],
      });
      const answer = await proxy.ask("POST /", ["Content-Length: 3"], "abc");
      assertEquals([answer.status, answer.field("content-type")], [500, "application/problem+json"]);
      assertEquals([answer.text.includes("secret"), answer.text.includes(phase)], [false, false]);
      await proxy.seen.untilEntries(1);
      assertEquals(logged, 1);
      const [failure] = proxy.seen.eventsOf("request_failure");
      assertEquals(failure?.message, `${phase} threw: secret`);
      assertStringIncludes(failure?.stack ?? "", "phases_test.ts");
    },
  );
}

eachTransport("ctx.state is one object of all sets'", async (start) => {
  await using upstream = startUpstream();
  const states: unknown[] = [];
  await using proxy = await start<unknown>({
    upstreams: [upstream.address],
    newContext: () => ({ a: 1 }),
    filters: [{ newContext: () => ({ b: 2 }) }, { logging: (ctx) => void states.push(ctx.state) }],
  });
  await proxy.ask();
  await proxy.seen.untilEntries(1);
  assertEquals(states, [{ a: 1, b: 2 }]);
});

Deno.test("ctx.state is there in logging whatever was wrong with the request", async () => {
  const logged: unknown[] = [];
  await using proxy = await startProxy<unknown>({
    upstreams: ["127.0.0.1:1"],
    newContext: ({ method }) => ({ method }),
    logging: ({ status, state }) => void logged.push([status, state]),
  });
  const refused: [head: string, status: number, method: string][] = [
    ["G@T / HTTP/1.1\r\nHost: h", 400, ""],
    ["\0 / HTTP/1.1\r\nHost: h", 400, ""],
    ["GET  / HTTP/1.1\r\nHost: h", 400, "GET"],
    ["GET / HTTP/9.9\r\nHost: h", 505, "GET"],
    ["GET / HTTP/1.1\r\nHost: h h", 400, "GET"],
    ["CONNECT h:1 HTTP/1.1\r\nHost: h:1", 501, "CONNECT"],
  ];
  for (const [head, status, method] of ENGINE === "deno" ? refused.slice(-2) : refused) {
    using connection = await proxy.connect();
    await connection.write(`${head}\r\n\r\n`);
    assertEquals((await connection.readResponse()).status, status, head);
    await proxy.seen.untilEntries(logged.length);
    assertEquals(logged.at(-1), [status, { method }], head);
  }
});

eachTransport("ctx.log writes with the id of the request", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    requestFilter: (_request, { log }) => {
      log.info("seen", { n: 1 });
      log.error("bad");
    },
  });
  await proxy.ask();
  const entry = await proxy.seen.untilEntries(1);
  const { requestId } = entry;
  assertEquals(proxy.seen.eventsOf("request_log"), [
    { kind: "request_log", level: "info", requestId, message: "seen", fields: { n: 1 } },
    { kind: "request_log", level: "error", requestId, message: "bad", fields: {} },
  ]);
});

eachTransport(
  "ctx.signal aborts when the client goes away while a filter works, and not after an answer",
  async (start) => {
    await using upstream = startUpstream();
    const waiting = Promise.withResolvers<void>();
    const signals: AbortSignal[] = [];
    await using proxy = await start({
      upstreams: [upstream.address],
      requestFilter: (_request, { signal, target }) => {
        signals.push(signal);
        if (target === "/") return;
        waiting.resolve();
        return new Promise<void>((_, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason))
        );
      },
    });
    assertEquals((await proxy.ask()).status, 200);
    {
      using client = await proxy.connect();
      await client.write("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n");
      await waiting.promise;
    }
    const entry = await proxy.seen.untilEntries(2);
    assertEquals([entry.status, entry.error], [499, "client_gone"]);
    assertEquals(signals.map(({ aborted }) => aborted), [false, true]);
  },
);

/** Content without end, which a filter opens: a file, or the response of another server. */
function opened(): { content: ReadableStream<Uint8Array<ArrayBuffer>>; closed: Promise<void> } {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const content = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(new Uint8Array(1000)),
    cancel: () => resolve(),
  });
  return { content, closed };
}

Deno.test("proxy closes the content of a filter whose answer has none for the client", async () => {
  const made: Promise<void>[] = [];
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    requestFilter: () => {
      const { content, closed } = opened();
      made.push(closed);
      return new Response(content);
    },
    localReplyFilter: (response, { target }) => {
      if (target === "/none") response.status = 204;
    },
  });
  assertEquals((await proxy.ask("HEAD /")).status, 200);
  assertEquals((await proxy.ask("GET /none")).status, 204);
  await Promise.all(made);
  assertEquals(made.length, 2);
});

Deno.test("proxy closes the content of responseBodyFilter when its status has none", async () => {
  await using upstream = startUpstream();
  const { content, closed } = opened();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    responseBodyFilter: (_body, _ctx, response) => {
      response.status = 204;
      return content;
    },
  });
  assertEquals((await proxy.ask()).status, 204);
  await closed;
});

for (const [kind, give] of kinds) {
  Deno.test(`proxy closes the content of a filter when a later one fails, ${kind}`, async () => {
    await using upstream = startUpstream();
    const made: Promise<void>[] = [];
    const make = () => {
      const { content, closed } = opened();
      made.push(closed);
      return give(new Response(content));
    };
    const makeContent = () => {
      const { content, closed } = opened();
      made.push(closed);
      return give(content);
    };
    const fail = () => kind === "later" ? Promise.reject(new Error("x")) : failNow();
    const failNow = (): never => {
      throw new Error("x");
    };
    const wrong = () => give("text" as unknown as Response);
    const sets: Filters[][] = [
      [{ upstreamResponseFilter: make, responseFilter: fail }],
      [{ responseFilter: fail }, { responseFilter: make }],
      [{ responseFilter: wrong }, { responseFilter: make }],
      [{ responseBodyFilter: fail }, { responseBodyFilter: makeContent }],
    ];
    for (const filters of sets) {
      await using proxy = await startProxy({ upstreams: [upstream.address], filters });
      assertEquals((await proxy.ask()).status, 500);
    }
    await Promise.all(made);
    assertEquals(made.length, 4);
  });
}

/** A server that accepts every WebSocket. */
function switching() {
  return rawUpstream(async (connection) => {
    const key = /^sec-websocket-key: *(.*)$/im.exec((await connection.readHead())!)![1]!.trim();
    const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
    const text = new TextEncoder().encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    const accept = new Uint8Array(await crypto.subtle.digest("SHA-1", text)).toBase64();
    await connection.write([...lines, `Sec-WebSocket-Accept: ${accept}`, "", ""].join("\r\n"));
    while (await connection.read() !== null);
  });
}

for (
  const [edit, responseFilter] of [
    ["the status", (response) => void (response.status = 200)],
    ["a reason phrase of two lines", (response) => void (response.statusText = "a\r\nb: c")],
  ] satisfies [string, Filters["responseFilter"]][]
) {
  Deno.test(`proxy opens no WebSocket where responseFilter sets ${edit}`, {
    ignore: !engineCan("upgrades"),
  }, async () => {
    await using upstream = switching();
    await using proxy = await startProxy({ upstreams: [upstream.address], responseFilter });
    const { status } = await proxy.ask("GET /", [
      ...["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]);
    assertEquals(status, 500);
    const [failure] = proxy.seen.eventsOf("request_failure");
    assertStringIncludes(failure!.message, "responseFilter");
  });
}
