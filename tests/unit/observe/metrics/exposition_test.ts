import { assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import {
  MetricRegistry,
  metricsFormat,
  readShares,
  writeMetrics,
} from "../../../../lib/observe/metrics/registry.ts";
import type { MetricFamily } from "../../../../lib/observe/metrics/series.ts";

const A: MetricFamily = { name: "a_total", help: "As.", type: "counter", labels: [] };
const B: MetricFamily = { name: "b", help: "Bs.", type: "gauge", labels: [] };
const C: MetricFamily = { name: "c", help: 'Cs "\\', type: "gauge", labels: ["x", "y"] };
const D: MetricFamily = { name: "d_seconds", help: "Ds.", type: "histogram", labels: ["x"], exemplars: true };

const value = (cell: number, ...labels: string[]) => ({ labels, cells: Float64Array.of(cell) });

Deno.test("writeMetrics() writes the text format, with labels escaped and empty metrics left out", () => {
  assertEquals(
    writeMetrics([
      { family: A, values: [value(3)] },
      { family: B, values: [] },
      { family: C, values: [value(0.5, 'q"\\\n', ""), value(0, "2", "y")] },
    ]),
    "# HELP a_total As.\n# TYPE a_total counter\na_total 3\n" +
      '# HELP c Cs "\\\\\n# TYPE c gauge\nc{x="q\\"\\\\\\n",y=""} 0.5\nc{x="2",y="y"} 0\n',
  );
});

function histogram(): string[] {
  const registry = new MetricRegistry();
  const series = registry.histogram(D, "r");
  series.record(0.4);
  series.record(1);
  series.record(1.001);
  series.record(99_000);
  series.recordExample(1.001, "0123456789abcdef00000000000000ff", 1_700_000_000_500);
  const values = [...readShares([registry.share()]).get("d_seconds")!.values()];
  return [
    writeMetrics([{ family: D, values }]),
    writeMetrics([{ family: A, values: [value(3)] }, { family: D, values }], "openmetrics"),
  ];
}

Deno.test("writeMetrics() sums the fine buckets of a histogram, with what equals a bound below it", () => {
  const [text] = histogram();
  assertMatch(text!, /^d_seconds_bucket\{x="r",le="0.001"\} 2$/m);
  assertMatch(text!, /^d_seconds_bucket\{x="r",le="0.0025"\} 3$/m);
  assertMatch(text!, /^d_seconds_bucket\{x="r",le="60"\} 3$/m);
  assertMatch(text!, /^d_seconds_bucket\{x="r",le="\+Inf"\} 4$/m);
  assertMatch(text!, /^d_seconds_sum\{x="r"\} 99.0024\d*$/m);
  assertMatch(text!, /^d_seconds_count\{x="r"\} 4$/m);
  assertNotMatch(text!, /trace_id/);
});

Deno.test("writeMetrics() writes OpenMetrics with exemplars, counters without their suffix, and an end", () => {
  const [, text] = histogram();
  assertMatch(text!, /^# TYPE a counter\na_total 3$/m);
  assertMatch(
    text!,
    /^d_seconds_bucket\{x="r",le="0.0025"\} 3 # \{trace_id="0123456789abcdef00000000000000ff"\} 0.001001\d* 1700000000.5$/m,
  );
  assertMatch(text!, /^d_seconds_bucket\{x="r",le="1.0"\} 3$/m);
  assertMatch(text!, /\n# EOF\n$/);
});

Deno.test("metricsFormat() gives OpenMetrics to who asks for it", () => {
  assertEquals(metricsFormat(null), "prometheus");
  assertEquals(metricsFormat("text/plain;version=0.0.4;q=0.3,*/*;q=0.2"), "prometheus");
  assertEquals(
    metricsFormat("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"),
    "openmetrics",
  );
});
