import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/redirects sends clients to new addresses, and servers old paths", async () => {
  await using example = await startExample("redirects");
  const table: [string, string, number, string | undefined][] = [
    ["/blog/2024/a?page=2", "h", 308, "https://blog.example/2024/a?page=2"],
    ["/blogs", "h", 200, undefined],
    ["/p/7?x=1", "h", 301, "/products/7?x=1"],
    ["/p/7a", "h", 200, undefined],
    ["/a?b", "www.shop.example", 308, "http://shop.example/a?b"],
  ];
  for (const [target, host, status, location] of table) {
    const answer = await example.ask(`GET ${target}`, [`Host: ${host}`]);
    assertEquals([answer.status, answer.field("location")], [status, location], target);
  }
  const { text } = await example.ask("GET /products/7?x=1");
  assertEquals(text.split("\n")[1], "GET /catalog/item.php/7?x=1");
});
