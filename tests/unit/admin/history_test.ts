import { assertEquals } from "@std/assert";
import { History } from "../../../lib/admin/history.ts";

Deno.test("History keeps ten minutes, a column for each number", () => {
  const history = new History();
  assertEquals(history.columns(), { time: [], columns: { perSecond: [], inFlight: [], cpu: [] } });
  for (let second = 1; second <= 700; second++) {
    history.add(second * 1000, { perSecond: second / 3, inFlight: second, cpu: 0.5 });
  }
  const { time, columns } = history.columns();
  assertEquals([time.length, time[0], time.at(-1)], [600, 101, 700]);
  assertEquals([columns.perSecond[0], columns.inFlight.at(-1)], [33.667, 700]);
});
