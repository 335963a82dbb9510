import { assertEquals } from "@std/assert";
import { maxBodySize } from "../../../lib/filters/max_body_size.ts";
import { engineCan } from "../../support/engine.ts";
import { deadPort } from "../../support/dead_port.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("localReplyFilter edits answers of limits, filters and failures, not those of servers", async () => {
  await using upstream = startUpstream();
  const statuses: number[] = [];
  await using proxy = await startProxy({
    upstreams: {
      default: { servers: [upstream.address] },
      dead: { servers: [`127.0.0.1:${deadPort()}`] },
    },
    limiter: { key: "header:appid", limit: 1, window: "1m" },
    requestFilter: (_request, { target }) =>
      target === "/own"
        ? new Response("own", { status: 401 })
        : target === "/moved"
        ? Response.redirect("http://a.example/")
        : undefined,
    upstreamPeer: (_request, { target }) => target === "/dead" ? "dead" : undefined,
    localReplyFilter: (response) => {
      statuses.push(response.status);
      response.headers.set("x-own", "1");
    },
  });
  const ask = async (target: string, lines: string[] = []) => {
    const { status, field } = await proxy.ask(`GET ${target}`, lines);
    return [status, field("x-own")];
  };
  assertEquals(await ask("/", ["appid: a"]), [200, undefined]);
  assertEquals(await ask("/", ["appid: a"]), [429, "1"]);
  assertEquals(await ask("/own"), [401, "1"]);
  assertEquals(await ask("/moved"), [302, "1"]);
  assertEquals(await ask("/dead"), [502, "1"]);
  assertEquals(statuses, [429, 401, 302, 502]);
  assertEquals(proxy.seen.entries.map(({ status }) => status), [200, 429, 401, 302, 502]);
});

Deno.test("localReplyFilter may change the status", async () => {
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    requestFilter: () => new Response("own", { status: 401 }),
    filters: [
      { localReplyFilter: (response) => response.headers.append("x-set", "1") },
      { localReplyFilter: (response) => void (response.status = 403) },
    ],
  });
  const { status, text, field } = await proxy.ask();
  assertEquals([status, text, field("x-set")], [403, "own", "1"]);
});

Deno.test("localReplyFilter that throws is reported, and the answer goes out as it was", async () => {
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    requestFilter: () => new Response("own", { status: 401 }),
    localReplyFilter: (response) => {
      response.headers.set("x-own", "1");
      throw new Error("out of order");
    },
  });
  const { status, text, field } = await proxy.ask();
  assertEquals([status, text, field("x-own")], [401, "own", undefined]);
  assertEquals(proxy.seen.eventsOf("callback_error").map(({ name }) => name), ["localReplyFilter"]);
});

Deno.test("localReplyFilter that throws changes neither status nor reason phrase", async () => {
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1" },
    requestFilter: () => new Response("own", { status: 401 }),
    localReplyFilter: (response) => {
      response.status = 403;
      response.statusText = "Own";
      throw new Error("out of order");
    },
  });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assertEquals((await client.readResponse()).startLine, "HTTP/1.1 401 Unauthorized");
});

Deno.test("localReplyFilter that sets a reason phrase of two lines is reported, and the answer goes out as it was", async () => {
  await using proxy = await startProxy({
    upstreams: [`127.0.0.1:${deadPort()}`],
    requestFilter: (_request, { target }) =>
      target === "/own" ? new Response("own", { status: 401 }) : undefined,
    localReplyFilter: (response) => void (response.statusText = "Own\r\nX-Forged: 1"),
  });
  for (const [target, status] of [["/own", 401], ["/", 502]] as const) {
    const answer = await proxy.ask(`GET ${target}`);
    assertEquals([answer.status, answer.field("x-forged")], [status, undefined]);
  }
  assertEquals(proxy.seen.eventsOf("callback_error").map(({ name }) => name), [
    "localReplyFilter",
    "localReplyFilter",
  ]);
});

Deno.test("proxy says once that it closes a connection whose content it has not read", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { key: "header:appid", limit: 1, window: "1h" },
    filters: [maxBodySize(10)],
    requestFilter: (_request, { target }) =>
      target === "/own" ? new Response("own", { status: 401, headers: { connection: "close" } }) : undefined,
  });
  const cases: [status: number, target: string, lines: string[]][] = [
    [413, "/", ["Content-Length: 11"]],
    [401, "/own", ["Content-Length: 11"]],
    [401, "/own", ["Transfer-Encoding: chunked"]],
    [401, "/own", []],
    [200, "/", ["appid: a", "Content-Length: 0"]],
    [429, "/", ["appid: a", "Content-Length: 11"]],
    [429, "/", ["appid: a", "Transfer-Encoding: chunked"]],
    [429, "/", ["appid: a"]],
  ];
  for (const [status, target, lines] of cases) {
    const answer = await proxy.ask(`POST ${target}`, lines);
    const closing = answer.fields.filter(([name]) => name.toLowerCase() === "connection");
    assertEquals([answer.status, closing.map(([, value]) => value)], [
      status,
      status === 200 || !engineCan("connection: close") ? [] : ["close"],
    ]);
  }
});
