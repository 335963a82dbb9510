import { assert, assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/tiers refuses by the tier that is used up, and charges the others nothing for it", async () => {
  await using example = await startExample("tiers", { set: { "limiter.0.window": "1h" } });
  const statuses: number[] = [];
  for (let n = 0; n < 8; n++) statuses.push((await example.ask("GET /")).status);
  assertEquals(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
  const refused = await example.ask("GET /");
  assertEquals(JSON.parse(refused.text)["violated-policies"], ["second"]);
  assert(
    refused.field("ratelimit-policy")!.includes('"day";q=1000;w=86400'),
    refused.field("ratelimit-policy"),
  );
});
