import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/more_servers takes three servers in turn", async () => {
  await using example = await startExample("more_servers");
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 6; n++) names.push((await example.ask("GET /")).field("x-upstream"));
  assertEquals(names, ["one", "two", "three", "one", "two", "three"]);
});
