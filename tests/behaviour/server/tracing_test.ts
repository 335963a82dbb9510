/** Traces that requests are part of, and what clients are told of times. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { TEST_WORKERS } from "../../support/test_workers.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const SAMPLED = `traceparent: 00-${TRACE}-${SPAN}-01`;
const STATE = "tracestate: a=1,b=2";

Deno.test("without tracing, the fields of a trace go on as they came", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  await proxy.ask("GET /", ["traceparent: anything", STATE]);
  const { headers } = upstream.seen[0]!;
  assertEquals([headers.get("traceparent"), headers.get("tracestate")], ["anything", "a=1,b=2"]);
  assertEquals((await proxy.seen.untilEntries(1)).traceId, null);
});

Deno.test("tracing: a trace that is kept goes on with a span of the proxy's own, and stands in the log", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], tracing: { sample: 0 } });
  await proxy.ask("GET /", [SAMPLED, STATE]);
  const { headers } = upstream.seen[0]!;
  const [, traceId, spanId, flags] = headers.get("traceparent")!.split("-");
  assertEquals([traceId, flags, headers.get("tracestate")], [TRACE, "01", "a=1,b=2"]);
  assertMatch(spanId!, /^[0-9a-f]{16}$/);
  assertNotEquals(spanId, SPAN);
  assertEquals((await proxy.seen.untilEntries(1)).traceId, TRACE);
});

Deno.test("tracing: a trace that is not kept goes on as it came, and stands in the log", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], tracing: { sample: 1 } });
  const parent = `00-${TRACE}-${SPAN}-00`;
  await proxy.ask("GET /", [`traceparent: ${parent}`, STATE]);
  const { headers } = upstream.seen[0]!;
  assertEquals([headers.get("traceparent"), headers.get("tracestate")], [parent, "a=1,b=2"]);
  assertEquals((await proxy.seen.untilEntries(1)).traceId, TRACE);
});

Deno.test("tracing: what is no traceparent ends here, with its tracestate", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], tracing: { sample: 0 } });
  await proxy.ask("GET /", ["traceparent: nonsense", STATE]);
  const { headers } = upstream.seen[0]!;
  assertEquals([headers.get("traceparent"), headers.get("tracestate")], [null, null]);
});

Deno.test("tracing: sample says of how many requests a trace begins", async () => {
  await using upstream = startUpstream();
  const numbers = [0.3, 0.7, 0.3];
  await using proxy = await startProxy(
    { upstreams: { servers: [upstream.address], balance: "first" }, tracing: { sample: 0.5 } },
    { random: () => numbers.shift() ?? 0.9 },
  );
  for (let i = 0; i < 2; i++) await proxy.ask();
  await proxy.seen.untilEntries(2);
  const [first, second] = upstream.seen.map(({ headers }) => headers.get("traceparent"));
  assertMatch(first!, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assertEquals(second, null);
  assertEquals(proxy.seen.entries.map(({ traceId }) => traceId), [first!.slice(3, 35), null]);
});

Deno.test("tracing: continue says whose traces go on", async () => {
  await using upstream = startUpstream();
  const asked = async (trust: "trusted" | "nobody", trustedProxies: readonly string[]) => {
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      trustedProxies,
      tracing: { sample: 0, continue: trust },
    });
    await proxy.ask("GET /", [SAMPLED, STATE]);
    const { headers } = upstream.seen.at(-1)!;
    return [headers.get("traceparent")?.slice(3, 35), headers.get("tracestate")];
  };
  assertEquals(await asked("trusted", ["loopback"]), [TRACE, "a=1,b=2"]);
  assertEquals(await asked("trusted", ["192.0.2.1"]), [undefined, null]);
  assertEquals(await asked("nobody", ["loopback"]), [undefined, null]);
});

Deno.test("tracing: each try has a span of its own", async () => {
  const parents: string[] = [];
  const fail = async (
    connection: { readRequest(): Promise<{ fields: readonly (readonly [string, string])[] } | null> },
  ) => {
    const request = await connection.readRequest();
    parents.push(request!.fields.find(([name]) => name.toLowerCase() === "traceparent")![1]);
  };
  await using one = rawUpstream(fail);
  await using two = startUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: [one.address, two.address], balance: "first", ejection: false },
    tracing: true,
  });
  assertEquals((await proxy.ask("GET /", [SAMPLED])).status, 200);
  parents.push(two.seen[0]!.headers.get("traceparent")!);
  assertEquals(parents.length, 2);
  assertEquals(parents.map((each) => each.slice(0, 35)), [`00-${TRACE}`, `00-${TRACE}`]);
  assertNotEquals(parents[0], parents[1]);
});

Deno.test("tracing: histograms of OpenMetrics name a trace as an example", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], tracing: { sample: 0 } });
  await proxy.ask("GET /");
  await proxy.ask("GET /", [SAMPLED]);
  await proxy.seen.untilEntries(2);
  const lines = proxy.server.metrics("openmetrics").split("\n").filter((line) => line.includes("trace_id"));
  assertEquals(lines.length, 1);
  assertMatch(
    lines[0]!,
    new RegExp(
      `^lbproxy_request_duration_seconds_bucket\\{route="",le="[\\d.]+"\\} \\d # \\{trace_id="${TRACE}"\\} 0\\.\\d+ \\d+`,
    ),
  );
});

for (const protocol of ["http1", "h2"] as const) {
  Deno.test(`serverTiming tells clients how long what took, beside what the server says (${protocol})`, async () => {
    await using upstream = startUpstream({
      handler: () => new Response("x", { headers: { "server-timing": "db;dur=5" } }),
    });
    await using proxy = await startProxy({
      upstreams: { good: { servers: [upstream.address], protocol }, dead: [`127.0.0.1:${deadPort()}`] },
      routes: [{ match: { path: "/dead" }, upstream: "dead" }, { upstream: "good" }],
      serverTiming: true,
    });
    const timings = async (target: string) => {
      const { fields } = await proxy.ask(`GET ${target}`);
      return fields.filter(([name]) => name.toLowerCase() === "server-timing").map(([, value]) => value);
    };
    const dur = String.raw`;dur=\d+\.\d\d`;
    const first = (await timings("/")).join(", ");
    assertMatch(first, new RegExp(`^db;dur=5, connect${dur}, upstream${dur}, proxy${dur}$`));
    let later = first;
    // Each worker opens a connection of its own.
    for (let i = 0; i < 20 * TEST_WORKERS && later.includes("connect"); i++) {
      later = (await timings("/")).join(", ");
    }
    assertMatch(later, new RegExp(`^db;dur=5, upstream${dur}, proxy${dur}$`));
    assertMatch((await timings("/dead")).join(), new RegExp(`^proxy${dur}$`));
    const numbers = Array.from(first.matchAll(/dur=([\d.]+)/g), ([, number]) => Number(number));
    assert(numbers.every((number) => number >= 0));
  });
}
