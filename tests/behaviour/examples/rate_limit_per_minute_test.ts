import { assert, assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/rate_limit_per_minute admits one request a minute of each appid", async () => {
  await using example = await startExample("rate_limit_per_minute");
  const ask = (appid: string) => example.ask("GET /", [`appid: ${appid}`]);
  assertEquals([(await ask("a")).status, (await ask("b")).status, (await ask("a")).status], [200, 200, 429]);
  const wait = Number((await ask("a")).field("retry-after"));
  assert(wait > 50 && wait <= 60, `${wait}`);
});
