import { assertEquals, assertStringIncludes } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { checkExample, startExample } from "../../support/start_example.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("examples/slow_checks takes a dead server out before it listens, and checks every five seconds", async () => {
  await using alive = startUpstream("alive");
  await using example = await startExample("slow_checks", {
    set: { "upstreams.servers": [`127.0.0.1:${deadPort()}`, alive.address] },
  });
  for (let n = 0; n < 4; n++) assertEquals((await example.ask("GET /")).text, "alive");
  assertStringIncludes(await checkExample("slow_checks"), "every 5s");
});
