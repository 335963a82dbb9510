import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/weighted gives the large server three requests of four, and the spare one none", async () => {
  await using example = await startExample("weighted");
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 8; n++) names.push((await example.ask("GET /")).field("x-upstream"));
  const each = (name: string) => names.filter((other) => other === name).length;
  assertEquals([each("large"), each("small"), each("spare")], [6, 2, 0]);
});
