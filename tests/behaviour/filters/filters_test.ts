import { assertEquals, assertStrictEquals } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

for (const kind of ["at once", "later"]) {
  /** What a filter gives back, now or in a promise. */
  const give = <T>(value: T): T | Promise<T> => kind === "at once" ? value : Promise.resolve(value);

  eachTransport(
    `filters run in the order of the phases, with one context, answering ${kind}`,
    async (start) => {
      await using upstream = startUpstream();
      const ran: string[] = [];
      const contexts = new Set<unknown>();
      const note = (phase: string, ctx: unknown): void => {
        ran.push(phase);
        contexts.add(ctx);
      };
      await using proxy = await start<{ made: string }>({
        upstreams: [upstream.address],
        newContext: (request) => {
          ran.push("newContext");
          return { made: request.method };
        },
        requestFilter: (_request, ctx) => give(note(`requestFilter ${ctx.state.made}`, ctx)),
        upstreamPeer: (_request, ctx) => give(note("upstreamPeer", ctx)),
        upstreamRequestFilter: (_request, ctx) => give(note("upstreamRequestFilter", ctx)),
        responseFilter: (_response, ctx) => give(note("responseFilter", ctx)),
        failToProxy: (_error, ctx) => give(note("failToProxy", ctx)),
        logging: (ctx) => give(note("logging", ctx)),
      });
      assertEquals((await proxy.ask("POST /", ["Content-Length: 3"], "abc")).status, 200);
      await proxy.seen.untilEntries(1);
      assertEquals(ran, [
        "newContext",
        "requestFilter POST",
        "upstreamPeer",
        "upstreamRequestFilter",
        "responseFilter",
        "logging",
      ]);
      assertEquals(contexts.size, 1);
    },
  );

  eachTransport(`requestFilter answers the client itself, ${kind}`, async (start) => {
    await using upstream = startUpstream();
    const logged: number[] = [];
    await using proxy = await start({
      upstreams: [upstream.address],
      requestFilter: () => give(new Response("no entry", { status: 403, headers: { "x-why": "me" } })),
      logging: (ctx) => void logged.push(ctx.status),
    });
    for (const request of ["GET /", "POST /"]) {
      const answer = await proxy.ask(
        request,
        request === "POST /" ? ["Content-Length: 3"] : [],
        request === "POST /" ? "abc" : "",
      );
      assertEquals([answer.status, answer.text, answer.field("x-why")], [403, "no entry", "me"]);
    }
    await proxy.seen.untilEntries(2);
    assertEquals([upstream.requests, logged], [0, [403, 403]]);
  });

  eachTransport(`responseFilter edits the answer, ${kind}`, async (start) => {
    await using upstream = recordingUpstream(
      "HTTP/1.1 200 OK\r\nX-Gone: 1\r\nX-Changed: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    await using proxy = await start({
      upstreams: [upstream.address],
      responseFilter: (response) => {
        response.status = 203;
        response.headers.delete("x-gone");
        response.headers.set("x-changed", "2");
        response.headers.append("set-cookie", "a=1");
        response.headers.append("set-cookie", "b=2");
        return give(undefined);
      },
    });
    const answer = await proxy.ask();
    assertEquals([answer.status, answer.text], [203, "ok"]);
    assertEquals([answer.field("x-gone"), answer.field("x-changed")], [undefined, "2"]);
    const cookies = answer.fields.filter(([name]) => name === "set-cookie").map(([, value]) => value);
    assertEquals(cookies, ["a=1", "b=2"]);
  });

  eachTransport(`responseFilter replaces the answer, and the server's is let go, ${kind}`, async (start) => {
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
      await connection.untilClosed();
    });
    await using proxy = await start({
      upstreams: [upstream.address],
      responseFilter: () => give(new Response("mine", { status: 410 })),
    });
    const answer = await proxy.ask();
    assertEquals([answer.status, answer.text], [410, "mine"]);
    await upstream.untilOpen(0);
    assertEquals((await proxy.seen.untilEntries(1)).status, 410);
  });

  eachTransport(`failToProxy makes the answer to a failure, ${kind}`, async (start) => {
    await using proxy = await start({
      upstreams: [`127.0.0.1:${deadPort()}`],
      failToProxy: (error, ctx) =>
        give(new Response(`${error.code} ${ctx.target} ${ctx.attempts.length}`, { status: 200 })),
    });
    const answer = await proxy.ask("GET /x");
    assertEquals([answer.status, answer.text], [200, "connection_refused /x 1"]);
    const { status, error } = await proxy.seen.untilEntries(1);
    assertEquals({ status, error }, { status: 200, error: "connection_refused" });
  });
}

eachTransport("failToProxy that returns nothing leaves the standard answer", async (start) => {
  await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`], failToProxy: () => {} });
  assertEquals((await proxy.ask()).field("content-type"), "application/problem+json");
});

eachTransport("failToProxy is asked about a client's bad request as well", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    newContext: () => "state",
    failToProxy: (error, ctx) => new Response(`${error.source} ${ctx.state}`, { status: error.status }),
  });
  const answer = await proxy.ask("GET /", ["Host: a/b"]);
  assertEquals([answer.status, answer.text], [400, "client state"]);
});

eachTransport("failToProxy that throws leaves the standard answer and is reported", async (start) => {
  await using proxy = await start({
    upstreams: [`127.0.0.1:${deadPort()}`],
    failToProxy: () => {
      throw new Error("secret");
    },
  });
  const answer = await proxy.ask();
  assertEquals([answer.status, answer.text.includes("secret")], [502, false]);
  assertEquals(proxy.seen.eventsOf("callback_error").map(({ name, message }) => [name, message]), [
    ["failToProxy", "secret"],
  ]);
});

const THROWING = [
  "newContext",
  "requestFilter",
  "upstreamPeer",
  "upstreamRequestFilter",
  "responseFilter",
] as const;

for (const phase of THROWING) {
  for (const kind of phase === "newContext" ? ["throws"] : ["throws", "rejects"]) {
    eachTransport(
      `${phase} that ${kind} gives 500 without a word of why, and is logged once`,
      async (start) => {
        await using upstream = startUpstream();
        const logged: unknown[] = [];
        const fail = () => {
          const error = new Error("secret");
          if (kind === "rejects") return Promise.reject(error);
          throw error;
        };
        await using proxy = await start({
          upstreams: [upstream.address],
          [phase]: fail,
          logging: (_ctx, error) => void logged.push(error?.code),
        });
        for (const [request, content] of [["GET /", ""], ["POST /", "abc"]] as const) {
          const answer = await proxy.ask(request, content === "" ? [] : ["Content-Length: 3"], content);
          assertEquals(answer.status, 500);
          assertEquals(answer.field("proxy-status"), "lbproxy; error=proxy_internal_error");
          assertEquals((answer.head + answer.text).includes("secret"), false);
        }
        await proxy.seen.untilEntries(2);
        assertEquals(logged, ["proxy_internal_error", "proxy_internal_error"]);
        const [event] = proxy.seen.eventsOf("request_failure");
        assertEquals(event!.message, `${phase} threw: secret`);
        assertEquals(event!.stack?.includes("filters_test.ts"), true);
        for (const server of proxy.servers) assertEquals([server.inFlight, server.failures], [0, 0]);
      },
    );
  }
}

for (const wrong of [42, "text", {}, null]) {
  eachTransport(
    `requestFilter that returns ${JSON.stringify(wrong)} ${wrong === null ? "is nothing" : "is a mistake"}`,
    async (start) => {
      await using upstream = startUpstream();
      await using proxy = await start({
        upstreams: [upstream.address],
        requestFilter: () => wrong as unknown as Response,
      });
      assertEquals((await proxy.ask()).status, wrong === null ? 200 : 500);
    },
  );
}

eachTransport(
  "requestFilter that returns the same response twice is a mistake, not a broken answer",
  async (start) => {
    await using upstream = startUpstream();
    const response = new Response("once");
    await using proxy = await start({ upstreams: [upstream.address], requestFilter: () => response });
    assertEquals((await proxy.ask()).text, "once");
    assertEquals((await proxy.ask()).status, 500);
  },
);

eachTransport("upstreamPeer that names what is not there gives 500", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    upstreamPeer: (_request, ctx) => ctx.target === "/pool" ? "nowhere" : { address: "no address" },
  });
  for (const target of ["/pool", "/peer"]) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 500);
  }
  assertEquals(
    proxy.seen.eventsOf("request_failure").map(({ message }) => message.split(":")[0]),
    ["upstreamPeer threw", "upstreamPeer threw"],
  );
});

eachTransport("upstreamRequestFilter edits method, target and fields", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    upstreamRequestFilter: (request) => {
      request.method = "PUT";
      request.target = "/new?x=%2F";
      request.headers.set("X-New", "1");
      request.headers.delete("cookie");
      request.headers.delete("via");
    },
  });
  await proxy.ask("POST /old", ["Cookie: a=1", "Content-Length: 3"], "abc");
  assertEquals(upstream.requests[0]!.startLine, "PUT /new?x=%2F HTTP/1.1");
  assertEquals(["x-new", "cookie", "via"].map((name) => upstream.sent(name)), [["1"], [], []]);
});

eachTransport("upstreamRequestFilter cannot smuggle a field into the request", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    upstreamRequestFilter: (request, ctx) => {
      if (ctx.target === "/value") request.headers.set("x-new", "1\r\nX-Evil: 1");
      if (ctx.target === "/name") request.headers.set("x-new: 1\r\nX-Evil", "1");
      if (ctx.target === "/target") request.target = "/ HTTP/1.1\r\nX-Evil: 1\r\nX:";
      if (ctx.target === "/method") request.method = "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET";
    },
  });
  for (const target of ["/value", "/name", "/target", "/method"]) {
    const { status } = await proxy.ask(`GET ${target}`);
    assertEquals(status >= 400, true, target);
  }
  assertEquals(upstream.requests, []);
});

eachTransport("logging is told what there is to know of a request", async (start) => {
  await using upstream = startUpstream();
  const logged: Record<string, unknown>[] = [];
  await using proxy = await start({
    upstreams: [`127.0.0.1:${deadPort()}`, upstream.address],
    newContext: () => ({ own: 1 }),
    logging: (ctx, error) => {
      const { method, host, target, status, bytesSent, server, attempts, client, state, limits, timings } =
        ctx;
      const { upstreamStartMs, upstreamHeadMs, endMs } = timings;
      const inOrder = 0 <= upstreamStartMs! && upstreamStartMs! <= upstreamHeadMs! &&
        upstreamHeadMs! <= endMs!;
      logged.push({
        method,
        host,
        target,
        status,
        bytesSent,
        server: server?.address,
        error,
        state,
        limits,
        inOrder,
      });
      logged.push({ ip: client.ip, failures: attempts.map(({ failure }) => failure) });
    },
  });
  await proxy.ask("GET /x?y", ["Host: shop.example"]);
  await proxy.seen.untilEntries(1);
  assertEquals(logged, [
    {
      method: "GET",
      host: "shop.example",
      target: "/x?y",
      status: 200,
      bytesSent: 8,
      server: upstream.address,
      error: undefined,
      state: { own: 1 },
      limits: [],
      inOrder: true,
    },
    { ip: "127.0.0.1", failures: ["connection_refused", null] },
  ]);
});

eachTransport("logging that throws is reported and disturbs nothing", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    logging: (ctx) => {
      if (ctx.target === "/rejects") return Promise.reject(new Error("later"));
      throw new Error("at once");
    },
  });
  for (const target of ["/throws", "/rejects"]) assertEquals((await proxy.ask(`GET ${target}`)).status, 200);
  await proxy.seen.until(() => proxy.seen.eventsOf("callback_error").length === 2);
  assertEquals(proxy.seen.eventsOf("callback_error").map(({ name, message }) => [name, message]), [
    ["logging", "at once"],
    ["logging", "later"],
  ]);
});

Deno.test("logging runs exactly once for every kind of end", async () => {
  const held = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (connection) => {
    const request = await connection.readRequest();
    if (request === null) return;
    const [, path] = request.startLine.split(" ");
    if (path === "/cut") {
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${"a".repeat(200_000)}`);
    }
    if (path === "/ok") await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (path === "/empty") await connection.write("HTTP/1.1 204 No Content\r\n\r\n");
    if (path === "/gone") {
      held.resolve();
      await connection.untilClosed();
    }
  });
  const logged: Record<string, string[]> = {};
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { key: "header:appid", limit: 0, window: "1s" },
    requestFilter: (_request, ctx) => ctx.target === "/answered" ? new Response("me") : undefined,
    responseFilter: (_response, ctx) => ctx.target === "/replaced" ? new Response("me") : undefined,
    logging: (ctx, error) => {
      (logged[ctx.target] ??= []).push(`${ctx.status} ${error?.code}`);
    },
  });
  await proxy.ask("GET /ok");
  await proxy.ask("GET /empty");
  await proxy.ask("GET /limited", ["appid: a"]);
  await proxy.ask("GET /answered");
  await proxy.ask("GET /reset");
  await proxy.ask("GET /cut").catch(() => {});
  await proxy.ask("GET /bad#");
  {
    using client = await proxy.connect();
    await client.write("GET /gone HTTP/1.1\r\nHost: h\r\n\r\n");
    await held.promise;
  }
  await proxy.seen.untilEntries(8);
  assertEquals(logged, {
    "/ok": ["200 undefined"],
    "/empty": ["204 undefined"],
    "/limited": ["429 undefined"],
    "/answered": ["200 undefined"],
    "/reset": ["502 connection_terminated"],
    "/cut": ["200 http_response_incomplete"],
    "/bad#": ["400 http_request_error"],
    "/gone": ["499 client_gone"],
  });
});

Deno.test("two proxies in one process share nothing", async () => {
  await using upstream = startUpstream();
  const limiter = { key: "ip", limit: 1, window: "1m" } as const;
  const states: unknown[] = [];
  const config = {
    upstreams: [upstream.address],
    limiter,
    newContext: () => ({}),
    logging: (ctx: { state: unknown }) => void states.push(ctx.state),
  };
  await using one = await startProxy(config);
  await using two = await startProxy(config);
  assertEquals([(await one.ask()).status, (await two.ask()).status], [200, 200]);
  assertEquals([(await one.ask()).status, (await two.ask()).status], [429, 429]);
  await one.seen.untilEntries(2);
  await two.seen.untilEntries(2);
  assertEquals(new Set(states).size, 4);
  assertStrictEquals(one.servers[0] === two.servers[0], false);
});

Deno.test("timings do not count the time that filters took as the server's", async () => {
  const clock = new FakeClock();
  const seen: (number | null)[] = [];
  const logging = (ctx: { timings: { upstreamStartMs: number | null } }): void => {
    seen.push(ctx.timings.upstreamStartMs);
  };
  const pass = (): void => clock.tick(500);
  const passLater = (): Promise<void> => Promise.resolve(pass());
  await using upstream = startUpstream();
  const upstreams = [upstream.address];
  for (const requestFilter of [undefined, pass, passLater]) {
    const filters = requestFilter === undefined ? {} : { requestFilter };
    await using proxy = await startProxy({ upstreams, logging, ...filters }, { clock });
    assertEquals((await proxy.ask()).status, 200);
  }
  assertEquals(seen, [0, 500, 500]);
});
