import { assertEquals } from "@std/assert";
import { History } from "../../../lib/admin/server_history.ts";

Deno.test("History keeps ten minutes, a column for each number", () => {
  const history = new History();
  assertEquals(history.columns().time, []);
  const rest = { ok: 1, client: 0, server: 0, refused: 0, p50: null, p95: 2.34567, p99: 3 };
  for (let second = 1; second <= 700; second++) {
    history.add(second * 1000, { perSecond: second / 3, inFlight: second, cpu: 0.5, ...rest });
  }
  const { time, columns } = history.columns();
  assertEquals([time.length, time[0], time.at(-1)], [600, 101, 700]);
  assertEquals([columns.p50[0], columns.p95[0]], [null, 2.346]);
  assertEquals([columns.perSecond[0], columns.inFlight.at(-1)], [33.667, 700]);
});
