import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/cost_by_bytes refuses a client that has downloaded its share", async () => {
  await using example = await startExample("cost_by_bytes");
  const statuses: number[] = [];
  for (let n = 0; n < 4; n++) statuses.push((await example.ask("GET /")).status);
  assertEquals(statuses, [200, 200, 429, 429]);
});
