/**
 * Memory that reloads leave behind: the heap after each hundred reloads, measured after a garbage collection.
 *
 * `deno run -A --v8-flags=--expose-gc bench/reload_memory.ts [RELOADS] [object|file]`
 */

import { ModuleGraph } from "../lib/config/module_graph.ts";
import type { ProxyConfig } from "../lib/config/proxy_config.ts";
import { serve } from "../mod.ts";

const [count = "1000", way = "object"] = Deno.args;
const { gc } = globalThis as unknown as { gc(): void };

await using upstream = Deno.serve(
  { port: 0, hostname: "127.0.0.1", onListen() {} },
  () => new Response("hello"),
);
const address = `127.0.0.1:${upstream.addr.port}`;

/** A configuration of medium size: pools, checks, routes, limits, filters. */
const SOURCE = `
  const servers = ["${address}", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
  const pool = { servers, healthCheck: { type: "tcp", interval: "10s" }, slowStart: { duration: "10s" } };
  export default {
    listen: "127.0.0.1:0",
    upstreams: { default: pool, api: { ...pool, balance: "least-connections" } },
    routes: [{ match: { path: "/api" }, upstream: "api", limiter: { key: "ip", limit: 1e6, window: "1h" } }, {}],
    limiter: [
      { key: "ip", limit: 1e6, window: "1h" },
      { name: "at-once", key: "ip", limit: 1e6, window: "1h", algorithm: "concurrency" },
    ],
    filters: [{ requestFilter() {}, responseFilter() {} }],
  };`;

const folder = await Deno.makeTempDir();
const file = `${folder}/proxy.config.ts`;
await Deno.writeTextFile(file, SOURCE);
using graph = new ModuleGraph();

async function load(): Promise<ProxyConfig> {
  if (way === "file") return (await graph.load(new URL(`file://${file}`).href)).module.default as ProxyConfig;
  return Function(SOURCE.replace("export default", "return"))() as ProxyConfig;
}

await using proxy = await serve(await load());

async function settled(): Promise<{ heap: number; rss: number }> {
  while (proxy.drainingConfigurations > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  for (let i = 0; i < 4; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { heapUsed, rss } = Deno.memoryUsage();
  return { heap: heapUsed, rss };
}

async function reloads(times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await (await fetch(`http://${proxy.addresses[0]}/`)).text();
    const { applied, problems } = await proxy.reload(await load());
    if (!applied) throw new Error(problems.join("; "));
  }
}

// The first reloads compile code and fill caches.
await reloads(100);
const first = await settled();
// deno-lint-ignore no-console
console.log(`after   100  heap ${kib(first.heap)}  rss ${kib(first.rss)}`);
for (let done = 0; done < Number(count); done += 100) {
  await reloads(100);
  const { heap, rss } = await settled();
  const growth = ((heap - first.heap) / (done + 100)).toFixed(0);
  // deno-lint-ignore no-console
  console.log(
    `after ${String(done + 200).padStart(5)}  heap ${kib(heap)}  rss ${kib(rss)}  ${growth} bytes a reload`,
  );
}
await Deno.remove(folder, { recursive: true });

function kib(bytes: number): string {
  return `${String(Math.round(bytes / 1024)).padStart(7)} KiB`;
}
