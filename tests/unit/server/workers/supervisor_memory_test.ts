import { assertEquals } from "@std/assert";
import { CHUNK_CELLS, MetricRegistry } from "../../../../lib/observe/metrics/registry.ts";
import type { MetricFamily } from "../../../../lib/observe/metrics/series.ts";
import { listSeries, MetricChunks } from "../../../../lib/server/workers/supervisor_memory.ts";

const CHUNKS = 64;
const COUNTER: MetricFamily = { name: "a_total", help: "", type: "counter", labels: ["x"] };

Deno.test("MetricChunks has room for 262,144 numbers of a worker; further ones count, and nobody else is told", () => {
  const memory = new ArrayBuffer(CHUNKS * CHUNK_CELLS * 8);
  const chunks = new MetricChunks(memory, 0);
  const registry = new MetricRegistry(() => chunks.allocate());
  const counters = Array.from(
    { length: CHUNKS * CHUNK_CELLS + 10 },
    (_, i) => registry.counter(COUNTER, `${i}`),
  );
  for (const counter of counters) counter.add(1);
  assertEquals(counters.filter(({ cells }) => cells.buffer === memory).length, CHUNKS * CHUNK_CELLS);
  assertEquals(counters.filter(({ cells, at }) => cells[at] !== 1), []);
  const listed = listSeries(registry);
  assertEquals([listed.length, listed.at(-1)?.labels], [CHUNKS * CHUNK_CELLS, [
    `${CHUNKS * CHUNK_CELLS - 1}`,
  ]]);
});
