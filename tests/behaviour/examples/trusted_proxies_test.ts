import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/trusted_proxies knows the client by the word of proxies, and tells servers of it", async () => {
  await using example = await startExample("trusted_proxies");
  const ask = (chain: string) => example.ask("GET /", [`X-Forwarded-For: ${chain}`]);
  const { status, text } = await ask("198.51.100.1, 203.0.113.7, 10.0.0.2");
  assertEquals([status, text.match(/^(forwarded|x-forwarded-for|via):.*$/gm)], [200, [
    "forwarded: for=127.0.0.1;host=h;proto=http",
    "x-forwarded-for: 198.51.100.1, 203.0.113.7, 10.0.0.2, 127.0.0.1",
  ]]);
  // Whatever a client says to the left of its own address, it is the same client.
  assertEquals([(await ask("192.0.2.9, 203.0.113.7")).status, (await ask("203.0.113.7")).status], [200, 429]);
  assertEquals((await ask("203.0.113.8")).status, 200);
  // In the other field it may say what it likes.
  const spoofed = ["Forwarded: for=203.0.113.99", "X-Forwarded-For: 203.0.113.7"];
  assertEquals((await example.ask("GET /", spoofed)).status, 429);
});
