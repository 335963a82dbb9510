import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/per_ip admits sixty requests a minute of one address", async () => {
  await using example = await startExample("per_ip");
  const statuses: number[] = [];
  for (let n = 0; n < 61; n++) statuses.push((await example.ask("GET /")).status);
  assertEquals(statuses, [...Array(60).fill(200), 429]);
});
