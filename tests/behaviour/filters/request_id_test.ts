import { assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { requestId, type RequestIdOptions } from "../../../lib/filters/request_id.ts";
import { deadPort } from "../../support/dead_port.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { TEST_WORKERS } from "../../support/test_workers.ts";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

Deno.test("requestId() makes an id, which server and client are told, and drops those of clients", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], filters: [requestId()] });
  const first = await proxy.ask("GET /", ["X-Request-Id: mine", "X_Request_Id: mine"]);
  assertMatch(first.field("x-request-id") ?? "", UUID);
  assertEquals(upstream.sent("x-request-id"), [first.field("x-request-id")]);
  assertEquals(upstream.sent("x_request_id"), []);
  assertNotEquals((await proxy.ask()).field("x-request-id"), first.field("x-request-id"));
});

const trusted: [string, RequestIdOptions["trusted"], string, boolean][] = [
  ["of a trusted network", ["127.0.0.0/8"], "abc.DEF-1_2:3", true],
  ["of anybody", true, "abc", true],
  ["that a function trusts", ({ target }) => target === "/", "abc", true],
  ["of another network", ["10.0.0.0/8"], "abc", false],
  ["that is too long", true, "a".repeat(129), false],
  ["that has spaces", true, "a b", false],
  ["that could be markup", true, "<script>", false],
  ["that would be several lines of a log", true, "a%0ab\tc", false],
  ["that comes twice", true, "a\r\nX-Request-Id: b", false],
];
for (const [name, trust, id, kept] of trusted) {
  Deno.test(`requestId() ${kept ? "keeps" : "replaces"} an id ${name}`, async () => {
    await using upstream = recordingUpstream();
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      filters: [requestId({ trusted: trust!, generate: () => "made" })],
    });
    const { field } = await proxy.ask("GET /", [`X-Request-Id: ${id}`]);
    assertEquals([upstream.sent("x-request-id"), field("x-request-id")], [
      [kept ? id : "made"],
      kept ? id : "made",
    ]);
  });
}

Deno.test("requestId() names answers of the proxy's own, and attempts of one request alike", async () => {
  const made: string[] = [];
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1", "127.0.0.1:2"],
    limiter: { key: "header:appid", limit: 1, window: "1m" },
    filters: [requestId({ header: "x-id", generate: () => `id${made.push("")}` })],
  });
  const failed = await proxy.ask("GET /", ["appid: a"]);
  assertEquals([failed.status, failed.field("x-id")], [502, "id1"]);
  const limited = await proxy.ask("GET /", ["appid: a"]);
  assertEquals([limited.status, limited.field("x-id")], [429, "id2"]);
});

Deno.test("requestId() gives the id that log, filters and server know the request by, in whichever way it ends", async () => {
  await using upstream = recordingUpstream();
  const seen: string[] = [];
  await using proxy = await startProxy({
    upstreams: { default: [upstream.address], dead: [`127.0.0.1:${deadPort()}`] },
    limiter: { key: "header:appid", limit: 1, window: "1m" },
    requestFilter: (_request, ctx) => {
      seen.push(ctx.requestId);
      ctx.log.info("seen");
      return ctx.target === "/own" ? new Response("own") : undefined;
    },
    upstreamPeer: (_request, { target }) => target === "/dead" ? "dead" : undefined,
    logging: (ctx) => void seen.push(ctx.requestId),
    filters: [requestId({ trusted: true }), requestId({ header: "x-other" })],
  });
  const asked: [line: string, fields: string[], status: number][] = [
    ["GET /", [], 200],
    ["GET /", ["X-Request-Id: theirs"], 200],
    ["GET /own", [], 200],
    ["GET /dead", [], 502],
    ["GET /", ["appid: a"], 200],
    ["GET /", ["appid: a"], 429],
    ["GET /", ["Host: a/b"], 400],
  ];
  for (const [line, fields, status] of asked) {
    seen.length = proxy.seen.events.length = proxy.seen.entries.length = 0;
    const answer = await proxy.ask(line, fields);
    const { requestId: logged } = await proxy.seen.untilEntries(1);
    const events = proxy.seen.events.filter((event) => "requestId" in event).map(({ requestId }) =>
      requestId
    );
    assertEquals([answer.status, answer.field("x-request-id")], [status, logged]);
    assertEquals(new Set([logged, ...seen, ...events]), new Set([logged]), line);
    assertNotEquals(answer.field("x-other"), logged);
    if (status === 200 && line === "GET /") assertEquals(upstream.sent("x-request-id"), [logged]);
    if (fields[0] === "X-Request-Id: theirs") assertEquals(logged, "theirs");
  }
});

Deno.test("requestId() of a route gives the id of its requests in the log", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    routes: [
      { match: { path: "/named" }, filters: [requestId({ generate: () => "made", respond: false })] },
      { match: { path: "/other" } },
    ],
  });
  await proxy.ask("GET /named");
  await proxy.ask("GET /other");
  await proxy.seen.untilEntries(2);
  const [made, number] = proxy.seen.entries.map(({ requestId }) => requestId);
  assertEquals(made, "made");
  if (TEST_WORKERS === 1) assertEquals(number, "2");
  else assertMatch(number!, /^\d+-[12]$/);
});

Deno.test("requests have ids of their own in the log, by whatever process", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  for (let i = 0; i < 20; i++) await proxy.ask();
  await proxy.seen.untilEntries(20);
  assertEquals(new Set(proxy.seen.entries.map(({ requestId }) => requestId)).size, 20);
});

Deno.test("requestId() gives one id where its functions ask for it themselves", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [requestId({ trusted: (ctx) => ctx.requestId === "" })],
  });
  const { field } = await proxy.ask("GET /", ["X-Request-Id: theirs"]);
  const { requestId: logged } = await proxy.seen.untilEntries(1);
  assertMatch(logged, UUID);
  assertEquals([field("x-request-id"), upstream.sent("x-request-id")], [logged, [logged]]);
});

Deno.test("requestId() may keep the id from the client, and refuses options that cannot be meant", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [requestId({ respond: false })],
  });
  assertEquals((await proxy.ask()).field("x-request-id"), undefined);
  assertEquals(upstream.sent("x-request-id").length, 1);
  assertThrows(() => requestId({ header: "x id" }), TypeError, "name of a field");
  assertThrows(() => requestId({ trusted: ["10.0.0.1/8"] }), TypeError);
});
