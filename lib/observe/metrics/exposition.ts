/** Writes metrics: the text format of Prometheus (version 0.0.4), and OpenMetrics (version 1.0.0). */

import {
  BUCKETS,
  EXEMPLAR_SIZE,
  EXPOSED_BOUNDS,
  EXPOSED_OF,
  HISTOGRAM_SIZE,
  type MetricFamily,
} from "./series.ts";
import type { SeriesValue } from "./registry.ts";

/** A metric with all of its values. */
export interface Metric {
  readonly family: MetricFamily;
  readonly values: Iterable<SeriesValue>;
}

/** How metrics are written: `"prometheus"` is read by everything, `"openmetrics"` has exemplars. */
export type MetricsFormat = keyof typeof METRICS_TYPES;

/** What a response with metrics says of its content. */
export const METRICS_TYPES: Readonly<Record<"prometheus" | "openmetrics", string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** The format for a client, by the `Accept` field of its request: OpenMetrics for who knows it. */
export function metricsFormat(accept: string | null): "prometheus" | "openmetrics" {
  return accept !== null && /application\/openmetrics-text/i.test(accept) ? "openmetrics" : "prometheus";
}

/** Writes the metrics one after the other; one without values is left out. */
export function writeMetrics(metrics: Iterable<Metric>, format: MetricsFormat = "prometheus"): string {
  const open = format === "openmetrics";
  let text = "";
  for (const { family, values } of metrics) {
    let lines = "";
    for (const value of values) {
      lines += family.type === "histogram"
        ? writeHistogram(family, value, open)
        : `${family.name}${labelsOf(family, value)} ${value.cells[0]!}\n`;
    }
    if (lines === "") continue;
    // OpenMetrics names a counter without the suffix of its samples.
    const name = open && family.type === "counter" ? family.name.replace(/_total$/, "") : family.name;
    text += `# HELP ${name} ${escapeHelp(family.help, open)}\n# TYPE ${name} ${family.type}\n${lines}`;
  }
  return open ? `${text}# EOF\n` : text;
}

function writeHistogram(family: MetricFamily, { labels, cells }: SeriesValue, open: boolean): string {
  const counts = new Float64Array(EXPOSED_BOUNDS.length + 1);
  for (let i = 0; i < BUCKETS; i++) counts[EXPOSED_OF[i]!]! += cells[i]!;
  const { name } = family;
  let text = "";
  let count = 0;
  for (let i = 0; i < counts.length; i++) {
    count += counts[i]!;
    const bound = i < EXPOSED_BOUNDS.length ? formatBound(EXPOSED_BOUNDS[i]!, open) : "+Inf";
    const pairs = labelsOf(family, { labels }, `le="${bound}"`);
    text += `${name}_bucket${pairs} ${count}${open ? writeExemplar(cells, i) : ""}\n`;
  }
  const pairs = labelsOf(family, { labels });
  return `${text}${name}_sum${pairs} ${cells[BUCKETS]! / 1000}\n${name}_count${pairs} ${count}\n`;
}

/** OpenMetrics wants bounds that are whole to look like floats. */
function formatBound(bound: number, open: boolean): string {
  return open && Number.isInteger(bound) ? `${bound}.0` : String(bound);
}

function writeExemplar(cells: Float64Array, bucket: number): string {
  const at = HISTOGRAM_SIZE + bucket * EXEMPLAR_SIZE;
  const wallTime = cells[at + 5];
  if (wallTime === undefined || wallTime === 0) return "";
  let traceId = "";
  for (let i = 0; i < 4; i++) traceId += cells[at + i]!.toString(16).padStart(8, "0");
  return ` # {trace_id="${traceId}"} ${cells[at + 4]! / 1000} ${wallTime / 1000}`;
}

function labelsOf(family: MetricFamily, { labels }: Pick<SeriesValue, "labels">, last = ""): string {
  let pairs = "";
  for (let i = 0; i < labels.length; i++) {
    pairs += `${pairs === "" ? "" : ","}${family.labels[i]}="${escapeLabel(labels[i]!)}"`;
  }
  if (last !== "") pairs += pairs === "" ? last : `,${last}`;
  return pairs === "" ? "" : `{${pairs}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function escapeHelp(help: string, open: boolean): string {
  const escaped = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return open ? escaped.replaceAll('"', '\\"') : escaped;
}
