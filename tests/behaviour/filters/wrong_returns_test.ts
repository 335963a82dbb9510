import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Filters } from "../../../lib/filter/filters.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

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

Deno.test("requestFilter answers with the length of short content, also where fields are added to it", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    requestFilter: () => new Response("no entry", { status: 403 }),
    localReplyFilter: (response) => response.headers.set("x-own", "1"),
  });
  const { status, text, field } = await proxy.ask();
  assertEquals([status, text, field("content-length"), field("x-own")], [403, "no entry", "8", "1"]);
});
