import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/deno_serve_and_fetch speaks HTTP/2 in front, and refuses behind what fetch would rewrite", async () => {
  await using example = await startExample("deno_serve_and_fetch", {
    ownListen: true,
    set: { "listen.port": 0 },
  });
  using client = Deno.createHttpClient({ http1: false, http2: true });
  const names = [];
  for (let n = 0; n < 4; n++) {
    const response = await fetch(`http://${example.address}/`, { client });
    await response.body?.cancel();
    names.push(response.headers.get("x-upstream"));
  }
  assertEquals(names, ["one", "two", "one", "two"]);
  assertEquals((await example.ask("GET /a/../b")).status, 400);
});
