import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/plans gives each client what its plan allows", async () => {
  await using example = await startExample("plans");
  const limitOf = async (key: string) =>
    (await example.ask("GET /", [`X-Api-Key: ${key}`])).field("ratelimit-policy");
  assertEquals(await limitOf("key-of-ann"), '"plan";q=100;w=60');
  assertEquals(await limitOf("key-of-bob"), '"plan";q=5;w=60');
  assertEquals(await limitOf("key-of-cid"), undefined);
  const statuses: number[] = [];
  for (let n = 0; n < 5; n++) statuses.push((await example.ask("GET /", ["X-Api-Key: key-of-bob"])).status);
  assertEquals(statuses, [200, 200, 200, 200, 429]);
  for (let n = 0; n < 8; n++) {
    assertEquals((await example.ask("GET /", ["X-Api-Key: key-of-cid"])).status, 200);
  }
  assertEquals((await example.ask("GET /")).status, 429);
});
