import { assert, assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("examples/dynamic_upstreams adds and removes servers while it runs", async () => {
  await using three = startUpstream("three");
  await using example = await startExample("dynamic_upstreams");
  const turn = async () => {
    const names: (string | undefined)[] = [];
    for (let n = 0; n < 6; n++) names.push((await example.ask("GET /")).field("x-upstream"));
    return names.sort().join(" ");
  };
  assertEquals(await turn(), "one one one two two two");
  const added = await example.ask(`POST /-/servers?address=${three.address}`, ["Content-Length: 0"]);
  assertEquals(JSON.parse(added.text).length, 3);
  assertEquals(await turn(), "one one three three two two");
  const again = await example.ask(`POST /-/servers?address=${three.address}`, ["Content-Length: 0"]);
  assertEquals(again.status, 400);
  assert(again.text.includes("is a member already"), again.text);
  assertEquals((await example.ask(`DELETE /-/servers?address=${three.address}`)).status, 200);
  assertEquals(await turn(), "one one one two two two");
});
