import { assert, assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/token_bucket_burst admits a burst, and then one after the other", async () => {
  // Two an hour instead of two a second: nothing comes back while the test runs.
  await using example = await startExample("token_bucket_burst", { set: { "limiter.window": "1h" } });
  const statuses: number[] = [];
  for (let n = 0; n < 21; n++) statuses.push((await example.ask("GET /")).status);
  assertEquals(statuses, [...Array(20).fill(200), 429]);
  const wait = Number((await example.ask("GET /")).field("retry-after"));
  assert(wait > 1700 && wait <= 1800, `${wait}`);
});
