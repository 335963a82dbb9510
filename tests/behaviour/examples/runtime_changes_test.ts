import { assertEquals, assertMatch } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/runtime_changes drains a server, takes it out and lets it in", async () => {
  await using example = await startExample("runtime_changes");
  const change = (what: string) => example.ask(`POST /-/${what}`, ["Content-Length: 0"]);
  const turn = async () => {
    const names: (string | undefined)[] = [];
    for (let n = 0; n < 4; n++) names.push((await example.ask("GET /")).field("x-upstream"));
    return names.sort().join(" ");
  };
  assertEquals(await turn(), "one one two two");
  assertMatch((await change("drain?server=0")).text, /: draining\n$/);
  assertEquals(await turn(), "two two two two");
  assertMatch((await change("enable?server=0")).text, /: in use\n$/);
  assertEquals(await turn(), "one one two two");
  assertMatch((await change("disable?server=1")).text, /: disabled\n$/);
  assertEquals(await turn(), "one one one one");
  assertEquals([(await change("drain?server=7")).status, (await change("nonsense?server=0")).status], [
    404,
    404,
  ]);
});
