import { assertEquals } from "@std/assert";
import { Bench } from "./behaviour.ts";
import { TESTED_TRANSPORTS } from "./tested_transports.ts";
import { TRANSPORT_SUITE } from "./transport_suite.ts";

for (const tested of TESTED_TRANSPORTS) {
  for (const [subject, behaviours] of Object.entries(TRANSPORT_SUITE)) {
    for (const { name, needs = [], run } of behaviours) {
      Deno.test({
        name: `Transport "${tested.name}", ${subject}: ${name}`,
        ignore: needs.some((ability) => tested.cannot.has(ability)),
        async fn() {
          using bench = new Bench(tested);
          await run(bench);
          bench.transport[Symbol.dispose]();
          assertEquals(bench.wheel.pending, 0, "deadlines were left behind");
        },
      });
    }
  }
}
