import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/tiers_by_client admits ten requests of the premium user, one of anybody else", async () => {
  // A minute instead of a second, so that a slow machine is still within it.
  await using example = await startExample("tiers_by_client", { set: { "limiter.window": "1m" } });
  const statusesOf = async (appid: string, count: number) => {
    const statuses: number[] = [];
    for (let n = 0; n < count; n++) statuses.push((await example.ask("GET /", [`appid: ${appid}`])).status);
    return statuses;
  };
  assertEquals(await statusesOf("premium_user", 11), [...Array(10).fill(200), 429]);
  assertEquals(await statusesOf("somebody", 2), [200, 429]);
});
