/** When a worker that gives no sign is taken for hung. */

import { assertEquals } from "@std/assert";
import { isStarved } from "../../../../lib/server/workers/worker_group.ts";

Deno.test("isStarved: a worker that had no chance to run is not taken for hung", () => {
  const since = { ranMs: 1000, waitedMs: 5000 };
  const cases: readonly [what: string, ranMs: number, waitedMs: number, starved: boolean][] = [
    ["it waited nearly all the time", 60, 1100, true],
    ["it waited more than it ran", 240, 900, true],
    ["it ran long enough to say something", 250, 900, false],
    ["it loops", 1200, 0, false],
    ["it loops beside others", 600, 600, false],
    ["it is blocked or stopped: it neither runs nor waits", 0, 0, false],
  ];
  for (const [what, ran, waited, starved] of cases) {
    const now = { ranMs: since.ranMs + ran, waitedMs: since.waitedMs + waited };
    assertEquals(isStarved(since, now), starved, what);
  }
  assertEquals([isStarved(null, since), isStarved(since, null)], [false, false]);
});
