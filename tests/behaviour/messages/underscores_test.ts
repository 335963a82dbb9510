/** Fields with underscores in their names, which servers behind CGI, WSGI and PHP take for those with dashes. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Underscores } from "../../../lib/http/proxy_fields.ts";
import { removeHeaders } from "../../../lib/filters/headers.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { askByH2 } from "../../support/h2_request.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { askAt, startProxy } from "../../support/start_proxy.ts";

const listen = (underscores: Underscores) => ({ hostname: "127.0.0.1", port: 0, underscores });

const LINES = [
  "X_Api_Key: evil",
  "X-Api-Key: mine",
  "_: evil",
  "Content_Length: 5",
  "x_empty:",
  "a-b_c: evil",
];

eachTransport(
  "proxy drops fields with underscores in their names before anybody sees them",
  async (start) => {
    await using upstream = recordingUpstream();
    const seen: string[] = [];
    const note = ({ headers }: Request) => {
      headers.forEach((value, name) => seen.push(`${name}: ${value}`));
      for (const name of ["X_Api_Key", "x_empty"]) if (headers.has(name)) seen.push(name);
    };
    await using proxy = await start({
      upstreams: [upstream.address],
      routes: [{ filters: [{ newContext: note }] }],
      limiter: {
        key: (request) => {
          note(request);
          return null;
        },
        limit: 1,
        window: "1h",
      },
      newContext: note,
      filters: [removeHeaders({ request: ["x-api-key"] })],
      requestFilter: (request, ctx) => {
        for (const each of [request, request.clone(), request.clone().clone(), ctx.request]) note(each);
      },
      upstreamRequestFilter: ({ headers }) =>
        headers.forEach((value, name) => seen.push(`${name}: ${value}`)),
      logging: ({ request }) => note(request),
    });
    assertEquals((await proxy.ask("POST /", [...LINES, "Content-Length: 2"], "hi")).status, 200);
    const [{ head, body }] = upstream.requests as [typeof upstream.requests[0]];
    assertEquals(seen.filter((line) => line.includes("_") || line.includes("evil")), []);
    assertEquals(seen.filter((line) => line === "x-api-key: mine").length, 9);
    assertEquals([head.includes("_"), head.includes("evil"), upstream.sent("x-api-key")], [false, false, []]);
    assertEquals(new TextDecoder().decode(body), "hi");
  },
);

Deno.test("proxy drops them over HTTP/2, and from one whose host nobody names", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno" },
    upstreams: [upstream.address],
  });
  assertEquals(await askByH2(proxy.port, [["x_api_key", "evil"], ["x-api-key", "mine"]]), true);
  assertEquals([upstream.sent("x_api_key"), upstream.sent("x-api-key")], [[], ["mine"]]);
  using client = await proxy.connect();
  await client.write("OPTIONS / HTTP/1.1\r\nx_a: 1\r\n\r\n");
  assertStringIncludes((await client.readHead())!, "400 Bad Request");
});

Deno.test("proxy refuses them where it is to, and filters are told without them", async () => {
  await using upstream = recordingUpstream();
  const seen: (string | null)[] = [];
  await using proxy = await startProxy({
    listen: listen("refuse"),
    upstreams: [upstream.address],
    failToProxy: (_error, { request }) => void seen.push(request.headers.get("x_api_key")),
  });
  const { status, text } = await proxy.ask("GET /", LINES);
  assertEquals([status, seen], [400, [null]]);
  assertStringIncludes(text, '"');
  assertEquals((await proxy.ask("GET /", ["X-Api-Key: mine"])).status, 200);
  assertEquals(upstream.requests.length, 1);
});

eachTransport("proxy passes them where it is to: to keys, routes, filters and servers", async (start) => {
  await using upstream = recordingUpstream();
  const seen: (string | null)[] = [];
  await using proxy = await start({
    listen: listen("pass"),
    upstreams: { servers: [upstream.address], balance: "fnv-hash", key: "header:x_api_key" },
    routes: [{ match: { headers: { x_api_key: true } } }],
    limiter: { key: "header:x_api_key", limit: 1, window: "1h" },
    requestFilter: ({ headers }) => void seen.push(headers.get("X_Api_Key")),
  });
  const ask = async (...lines: string[]) => (await proxy.ask("GET /", lines)).status;
  assertEquals([await ask("X_Api_Key: a"), await ask("X_Api_Key: a"), await ask("X_Api_Key: b")], [
    200,
    429,
    200,
  ]);
  assertEquals(await ask("X-Api-Key: a"), 404);
  assertEquals([upstream.sent("x_api_key"), seen.slice(0, 2)], [["b"], ["a", "b"]]);
});

Deno.test("proxy treats them as the listener says that they came by", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: (["pass", "drop", "refuse"] as const).map(listen),
  });
  const statuses: [number, string[]][] = [];
  for (const address of proxy.server.addresses) {
    const { status } = await askAt(Number(address.split(":").at(-1)), "GET /", ["x_a: 1"]);
    statuses.push([status, upstream.sent("x_a")]);
  }
  assertEquals(statuses, [[200, ["1"]], [200, []], [400, []]]);
});
