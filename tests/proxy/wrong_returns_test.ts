import { assertEquals, assertStringIncludes } from "@std/assert";
import type { ProxyConfig } from "../../lib/config/proxy_config.ts";
import type { Filters } from "../../lib/config/filters.ts";
import { eachTransport } from "../support/each_transport.ts";
import { startProxy } from "../support/start_proxy.ts";
import { startUpstream } from "../support/start_upstream.ts";

async function usedResponse(): Promise<Response> {
  const response = new Response("once");
  await response.text();
  return response;
}

const RESPONSE = "it must return a Response or nothing, returned";
const PEER = "it must return the name of a pool, { address, tls } or nothing, returned";
const CONTENT = "it must return a ReadableStream, { body, length } or nothing";
const USED = "it returned a Response whose body was read already";

const cases: [keyof Filters, string, () => unknown, string][] = [
  ["requestFilter", "a text", () => "text", `${RESPONSE} string`],
  ["requestFilter", "a used response", usedResponse, USED],
  ["upstreamPeer", "a number", () => 5, `${PEER} number`],
  ["upstreamPeer", "an object", () => ({ host: "a" }), `${PEER} an object without "address"`],
  ["upstreamPeer", "an unknown pool", () => "blue", 'Cannot use the pool "blue": there are "default"'],
  ["requestBodyFilter", "a text", () => "text", CONTENT],
  ["upstreamResponseFilter", "a text", () => "text", `${RESPONSE} string`],
  ["upstreamResponseFilter", "an object", () => ({ status: 200 }), `${RESPONSE} object`],
  ["upstreamResponseFilter", "a used response", usedResponse, USED],
  ["responseFilter", "a number", () => 5, `${RESPONSE} number`],
  ["responseFilter", "a used response", usedResponse, USED],
  ["responseBodyFilter", "a text", () => "text", CONTENT],
];

for (const [phase, what, filter, message] of cases) {
  for (const late of [false, true]) {
    eachTransport(
      `${phase} that returns ${what}${late ? " later" : ""} gives 500, and the log says why`,
      async (start) => {
        await using upstream = startUpstream();
        await using proxy = await start({
          upstreams: [upstream.address],
          [phase]: late ? async () => await filter() : filter,
        });
        const { status, text } = await proxy.ask("POST /", ["Content-Length: 1"], "x");
        assertEquals([status, text.includes("return")], [500, false]);
        await proxy.seen.untilEntries(1);
        const failures = proxy.seen.eventsOf("request_failure");
        assertEquals(failures.length, 1);
        assertStringIncludes(failures[0]!.message, `${phase} threw: ${message}`);
      },
    );
  }
}

const limiter = { key: "ip", limit: 5, window: "1s" } as const;

/** What must not be async, and the status that a client gets where it is. */
const plain: [string, (fail: () => never) => Partial<ProxyConfig>, number][] = [
  ["limiter.key", (key) => ({ limiter: { ...limiter, key } }), 500],
  ["limiter.limit", (limit) => ({ limiter: { ...limiter, limit } }), 500],
  ["limiter.cost", (cost) => ({ limiter: { ...limiter, cost } }), 500],
  ["limiter.exempt", (exempt) => ({ limiter: { ...limiter, exempt } }), 500],
  ["upstreams.key", (key) => ({ upstreams: { servers, balance: "consistent-hash", key } }), 500],
  ["upstreams.balance", (balance) => ({ upstreams: { servers, balance } }), 503],
];
const servers = ["127.0.0.1:1"];

for (const [option, configure, status] of plain) {
  Deno.test(`${option} that is async and rejects does not end the process`, async () => {
    const fail = (() => Promise.reject(new Error("stray"))) as unknown as () => never;
    await using proxy = await startProxy({ upstreams: servers, ...configure(fail) });
    assertEquals((await proxy.ask()).status, status);
  });
}

Deno.test("requestFilter answers with the length of short content, also where fields are added to it", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    requestFilter: () => new Response("no entry", { status: 403 }),
    ownResponseFilter: (response) => response.headers.set("x-own", "1"),
  });
  const { status, text, field } = await proxy.ask();
  assertEquals([status, text, field("content-length"), field("x-own")], [403, "no entry", "8", "1"]);
});
