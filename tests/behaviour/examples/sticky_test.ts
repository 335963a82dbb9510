import { assertEquals, assertMatch } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/sticky keeps a client at its server", async () => {
  await using example = await startExample("sticky");
  const first = await example.ask("GET /");
  const field = first.field("set-cookie")!;
  assertMatch(field, /^at=[\w-]{43}; HttpOnly; Max-Age=28800; SameSite=Lax; Path=\/$/);
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 4; n++) {
    names.push((await example.ask("GET /", [`Cookie: ${field.split(";")[0]}`])).field("x-upstream"));
  }
  assertEquals(names, Array(4).fill(first.field("x-upstream")));
  const without = [
    (await example.ask("GET /")).field("x-upstream"),
    (await example.ask("GET /")).field("x-upstream"),
  ];
  assertEquals(without.sort(), ["one", "two"]);
});
