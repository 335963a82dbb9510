/** The metrics as others read them: the table in the documentation, `promtool`, and Prometheus itself. */

import { assert, assertEquals } from "@std/assert";
import { METRICS } from "../../../lib/observe/metrics/catalog.ts";
import { METRICS_TYPES, type MetricsFormat, metricsFormat } from "../../../lib/observe/metrics/registry.ts";
import { deadPort } from "../../support/dead_port.ts";
import { findProgram } from "../../support/find_program.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const PROMTOOL = await findProgram("promtool");
const PROMETHEUS = await findProgram("prometheus");

/** A proxy that has something to tell by most metrics. */
async function busyProxy(upstream: string): Promise<TestProxy> {
  const proxy = await startProxy({
    upstreams: {
      servers: [`127.0.0.1:${deadPort()}`, upstream],
      healthCheck: { type: "tcp", interval: "1h" },
      discovery: { type: "custom", discover: () => Promise.reject(new Error("no")), interval: "1h" },
      queue: { size: 1 },
    },
    limiter: { name: 'po"licy\\', key: "ip", limit: 1, window: "1h" },
    overload: { maxInFlight: 100 },
  });
  await proxy.ask();
  await proxy.ask();
  await proxy.seen.untilEntries(2);
  return proxy;
}

interface Row {
  type: string;
  labels: readonly string[];
  help: string;
}

async function documented(): Promise<Map<string, Row>> {
  const text = await Deno.readTextFile(new URL("../../../docs/metrics.md", import.meta.url));
  const rows = text.matchAll(/^\| `(lbproxy_\w+)`\s*\| (\w+)\s*\| (.*?)\s*\| (.*?)\s*\|$/gm);
  return new Map(Array.from(rows, ([, name, type, labels, help]) => [
    name!,
    { type: type!, labels: Array.from(labels!.matchAll(/`(\w+)`/g), ([, label]) => label!), help: help! },
  ]));
}

/** Metrics with their labels, as they stand in an exposition. */
function exposed(text: string): Map<string, Row> {
  const metrics = new Map<string, Row>();
  for (const [, name, help] of text.matchAll(/^# HELP (\w+) (.*)$/gm)) {
    const type = new RegExp(`^# TYPE ${name} (\\w+)$`, "m").exec(text)![1]!;
    const series = new RegExp(`^${name}(?:_count)?(?:\\{(.*)\\})? `, "m").exec(text);
    assert(series !== null, `${name} has no series`);
    const labels = Array.from((series[1] ?? "").matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g), ([, label]) => label!);
    metrics.set(name!, { type, labels, help: help! });
  }
  return metrics;
}

Deno.test("docs/metrics.md has every metric, with its type, labels and what it tells", async () => {
  await using upstream = startUpstream();
  await using proxy = await busyProxy(upstream.address);
  const table = await documented();
  const catalog = Object.values(METRICS).map(({ name, type, labels, help }) =>
    [name, { type, labels, help }] as const
  );
  assertEquals(table, new Map<string, Row>(catalog));
  for (const [name, row] of exposed(proxy.server.metrics())) assertEquals(row, table.get(name), name);
});

Deno.test(`promtool finds nothing wrong with the metrics${PROMTOOL.missing}`, PROMTOOL, async () => {
  await using upstream = startUpstream();
  await using proxy = await busyProxy(upstream.address);
  const promtool = new Deno.Command("promtool", {
    args: ["check", "metrics"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = promtool.stdin.getWriter();
  await writer.write(new TextEncoder().encode(proxy.server.metrics()));
  await writer.close();
  const { code, stdout, stderr } = await promtool.output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assertEquals([code, said], [0, ""]);
});

Deno.test(
  `Prometheus scrapes the metrics, as text and as OpenMetrics${PROMETHEUS.missing}`,
  PROMETHEUS,
  async () => {
    await using upstream = startUpstream();
    await using proxy = await busyProxy(upstream.address);
    for (const format of ["prometheus", "openmetrics"] as const) await scrape(proxy, format);
  },
);

/** Lets a real Prometheus scrape, and looks at what it has understood. */
async function scrape(proxy: TestProxy, format: MetricsFormat): Promise<void> {
  let scrapes = 0;
  const enough = Promise.withResolvers<void>();
  await using endpoint = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    // It prefers OpenMetrics, and takes both.
    assertEquals(metricsFormat(request.headers.get("accept")), "openmetrics");
    // A later one comes when the first is in its memory.
    if (++scrapes === 3) enough.resolve();
    return new Response(proxy.server.metrics(format), { headers: { "content-type": METRICS_TYPES[format] } });
  });
  const folder = await Deno.makeTempDir();
  const port = deadPort();
  const address = `127.0.0.1:${port}`;
  await Deno.writeTextFile(
    `${folder}/prometheus.yml`,
    `global: { scrape_interval: 100ms, scrape_timeout: 100ms }
scrape_configs:
  - job_name: lbproxy
    static_configs: [{ targets: ["127.0.0.1:${endpoint.addr.port}"] }]
`,
  );
  const process = new Deno.Command("prometheus", {
    args: [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=${address}`,
    ],
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await enough.promise;
    const query = async (expression: string) => {
      const response = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(expression)}`);
      return (await response.json()).data.result as {
        metric: Record<string, string>;
        value: [number, string];
      }[];
    };
    const [up] = await query("up");
    assertEquals(up?.value[1], "1");
    const requests = await query("sum by (source) (lbproxy_requests_total)");
    assertEquals(
      Object.fromEntries(requests.map(({ metric: { source }, value }) => [source!, value[1]])),
      { upstream: "1", limiter: "1" },
    );
    const [policy] = await query('lbproxy_ratelimit_decisions_total{decision="refused"}');
    assertEquals(policy?.metric.policy, 'po"licy\\');
    const [count] = await query("lbproxy_request_duration_seconds_count");
    assertEquals(count?.value[1], "2");
  } finally {
    process.kill("SIGTERM");
    await process.status;
    await Deno.remove(folder, { recursive: true });
  }
}
