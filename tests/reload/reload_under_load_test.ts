import { assertEquals } from "@std/assert";
import { reloadUnderLoad } from "./reload_under_load.ts";

for (const workers of [1, 4]) {
  const by = workers === 1 ? "lbproxy" : `lbproxy with ${workers} workers`;
  Deno.test(`${by} reloads under load without a failed request, a lost count or anything left`, async () => {
    const { failures, counted, draining, generation, rejected, requests, uploads, messages } =
      await reloadUnderLoad({
        reloads: 6,
        broken: 3,
        keepAlive: 8,
        oneShot: 8,
        webSockets: 2,
        uploads: 2,
        pauseMs: 50,
        seed: 1,
        workers,
      });
    assertEquals({ failures, counted, draining, generation, rejected }, {
      failures: [],
      counted: 0,
      draining: 0,
      generation: 7,
      rejected: 3,
    });
    assertEquals([requests > 0, uploads > 0, messages > 0], [true, true, true]);
  });
}
