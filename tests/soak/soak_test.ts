import { assert, assertEquals } from "@std/assert";
import { soak } from "./soak.ts";

for (const engine of ["http1", "deno"] as const) {
  Deno.test({
    name: `every request is settled once, whatever clients and servers do (${engine})`,
    // A WebSocket whose client has gone before it opened is never closed at the servers here (Deno 2.9.6). The proxy
    // is a process of its own.
    sanitizeOps: false,
    async fn() {
      const { findings, counts, seen } = await soak(engine, { ms: 2000, responses: 500 }, 1);
      assertEquals(findings, []);
      // What never happened shows nothing.
      assert(counts.begun >= 500, `${counts.begun} requests`);
      for (const what of ["200", "left", "broken", "websocket"]) assert(seen.counts[what]! > 0, what);
    },
  });
}
