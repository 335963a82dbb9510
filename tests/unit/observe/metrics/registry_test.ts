import { assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { type MetricFamily, readDistribution } from "../../../../lib/observe/metrics/series.ts";
import { MetricRegistry, readShares } from "../../../../lib/observe/metrics/registry.ts";

const COUNTER: MetricFamily = { name: "a_total", help: "", type: "counter", labels: ["x"] };
const HISTOGRAM: MetricFamily = {
  name: "b_seconds",
  help: "",
  type: "histogram",
  labels: ["x"],
  exemplars: true,
};

function valuesOf(...registries: MetricRegistry[]): Record<string, number> {
  const counters = readShares(registries.map((each) => each.share())).get("a_total") ?? new Map();
  return Object.fromEntries(Array.from(counters.values(), ({ labels, cells }) => [labels[0], cells[0]]));
}

Deno.test("MetricRegistry gives the same series for the same labels, until the last user lets go of it", () => {
  const registry = new MetricRegistry();
  const one = registry.counter(COUNTER, "x");
  const two = registry.counter(COUNTER, "x");
  assertStrictEquals(one, two);
  one.add(2);
  one[Symbol.dispose]();
  assertEquals(valuesOf(registry), { x: 2 });
  two[Symbol.dispose]();
  assertEquals(valuesOf(registry), {});
  const anew = registry.counter(COUNTER, "x");
  assertNotStrictEquals(anew, one);
  assertEquals(valuesOf(registry), { x: 0 });
});

Deno.test("MetricRegistry: what is counted by a series that was dropped reaches no other one", () => {
  const registry = new MetricRegistry();
  const gone = registry.histogram(HISTOGRAM, "gone");
  const dropped = registry.counter(COUNTER, "gone");
  gone.record(5);
  gone[Symbol.dispose]();
  dropped[Symbol.dispose]();
  const next = registry.histogram(HISTOGRAM, "next");
  registry.counter(COUNTER, "next");
  gone.record(7);
  dropped.add(1);
  const { cells } = readShares([registry.share()]).get("b_seconds")!.get("next")!;
  assertEquals(readDistribution(cells).count, 0);
  assertEquals(valuesOf(registry), { next: 0 });
  next.record(1);
  // The memory of the dropped one was taken again: servers that come and go do not use up ever more.
  assertEquals(registry.share().chunks.length, 1);
});

Deno.test("MetricRegistry: series that come and go without end use the same memory", () => {
  const registry = new MetricRegistry();
  for (let i = 0; i < 1000; i++) registry.histogram(HISTOGRAM, `server ${i}`)[Symbol.dispose]();
  assertEquals([registry.size, registry.share().chunks.length], [0, 1]);
});

Deno.test("readShares() sums the series of all workers, and takes the latest exemplar", () => {
  const [one, two] = [new MetricRegistry(), new MetricRegistry()];
  one.counter(COUNTER, "both").add(1);
  two.counter(COUNTER, "two").add(5);
  two.counter(COUNTER, "both").add(2);
  assertEquals(valuesOf(one, two), { both: 3, two: 5 });
  one.histogram(HISTOGRAM, "x").record(1);
  two.histogram(HISTOGRAM, "x").record(2);
  one.histogram(HISTOGRAM, "x").recordExample(1, "f".repeat(32), 2000);
  two.histogram(HISTOGRAM, "x").recordExample(1, "0".repeat(32), 1000);
  const { cells } = readShares([one.share(), two.share()]).get("b_seconds")!.get("x")!;
  const { count, sumMs } = readDistribution(cells);
  assertEquals([count, sumMs], [2, 3]);
  assertEquals(
    cells.slice(-96, -90),
    Float64Array.of(2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, 1, 2000),
  );
});

Deno.test("readShares() reads what a Worker counts, without asking it", async () => {
  const url = new URL("../../../../lib/observe/metrics/registry.ts", import.meta.url).href;
  const source = `
    const { MetricRegistry } = await import(${JSON.stringify(url)});
    const registry = new MetricRegistry();
    const counter = registry.counter(${JSON.stringify(COUNTER)}, "x");
    const histogram = registry.histogram(${JSON.stringify(HISTOGRAM)}, "x");
    postMessage(registry.share());
    onmessage = () => { counter.add(3); histogram.record(2); postMessage("counted"); };
  `;
  const worker = new Worker(`data:application/typescript,${encodeURIComponent(source)}`, { type: "module" });
  const next = () => new Promise<MessageEvent>((resolve) => worker.onmessage = resolve);
  const { data: share } = await next();
  const own = new MetricRegistry();
  own.counter(COUNTER, "x").add(1);
  const counted = next();
  worker.postMessage("count");
  await counted;
  const families = readShares([own.share(), share]);
  assertEquals(families.get("a_total")!.get("x")!.cells[0], 4);
  assertEquals(readDistribution(families.get("b_seconds")!.get("x")!.cells).sumMs, 2);
  worker.terminate();
});
