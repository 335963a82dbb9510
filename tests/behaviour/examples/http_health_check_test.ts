import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("examples/http_health_check sends nothing to a server that is not well, and lets it in again", async () => {
  let sick = true;
  await using one = startUpstream({
    handler: () => new Response("ok", { headers: { "x-upstream": "one" } }),
  });
  await using two = startUpstream({
    handler: () => new Response(sick ? "not well" : "ok", { headers: { "x-upstream": "two" } }),
  });
  await using example = await startExample("http_health_check", {
    set: { "upstreams.servers": [one.address, two.address] },
  });
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 6; n++) names.push((await example.ask("GET /")).field("x-upstream"));
  assertEquals(names, Array(6).fill("one"));
  sick = false;
  await example.program.stdoutMatch(new RegExp(`${two.address} is up`));
  const seen = new Set<string | undefined>();
  for (let n = 0; n < 100 && seen.size < 2; n++) seen.add((await example.ask("GET /")).field("x-upstream"));
  assertEquals(seen.size, 2);
});
