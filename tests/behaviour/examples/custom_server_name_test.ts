import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

Deno.test("examples/custom_server_name checks the certificate for the name, and names it as the Host", async () => {
  await using right = await tlsUpstream({ names: ["one.one.one.one"] });
  await using wrong = await tlsUpstream({ names: ["127.0.0.1"] });
  const { cert } = await testCa();
  for (const [upstream, status] of [[right, 200], [wrong, 502]] as const) {
    await using example = await startExample("custom_server_name", {
      set: { "upstreams.servers": [upstream.address], "upstreams.tls.caCerts": [cert] },
    });
    assertEquals((await example.ask("GET /", ["Host: shop.example"])).status, status);
  }
  assertEquals(right.seen.map(({ headers }) => headers.get("host")), ["one.one.one.one"]);
  assertEquals(wrong.requests, 0);
});
