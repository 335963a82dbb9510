import { assertEquals } from "@std/assert";
import { stopUnderLoad } from "./stop_under_load.ts";

const CROWD = { keepAlive: 8, oneShot: 8, webSockets: 0, uploads: 2 };

Deno.test("lbproxy finishes every request that it has taken when it is stopped under load", async () => {
  const { failures, code, requests, uploads, refused } = await stopUnderLoad(CROWD, false, 300);
  assertEquals([failures, code], [[], 0]);
  assertEquals([requests > 0, uploads > 0, refused > 0], [true, true, true]);
});

Deno.test({
  name: "lbproxy is followed by another process at the same address without a failed request",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const { failures, code, refused, requests } = await stopUnderLoad(CROWD, true, 300);
    assertEquals([failures, code, refused], [[], 0, 0]);
    assertEquals(requests > 0, true);
  },
});
