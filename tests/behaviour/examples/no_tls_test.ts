import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/no_tls takes servers with and without a scheme in turn", async () => {
  await using example = await startExample("no_tls");
  const names = [];
  for (let n = 0; n < 4; n++) names.push((await example.ask()).field("x-upstream"));
  assertEquals(names, ["one", "two", "one", "two"]);
});
