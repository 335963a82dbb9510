import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("examples/least_connections sends nothing to a server that is busy while another one is idle", async () => {
  const busy = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  await using slow = startUpstream({
    handler: async () => {
      arrived.resolve();
      await busy.promise;
      return new Response("slow");
    },
  });
  await using quick = startUpstream("quick");
  await using example = await startExample("least_connections", {
    set: { "upstreams.servers": [{ address: slow.address }, { address: quick.address }] },
  });
  // One request after the other until the slow server has one; which of two idle ones is first means nothing.
  let held: Promise<unknown> = Promise.resolve();
  for (let n = 0; n < 4 && slow.requests === 0; n++) {
    held = example.ask("GET /");
    await Promise.race([held, arrived.promise]);
  }
  for (let n = 0; n < 5; n++) assertEquals((await example.ask("GET /")).text, "quick");
  busy.resolve();
  await held;
  assertEquals(slow.requests, 1);
});
