import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/path_rewrite gives the server other paths than the client asked for", async () => {
  await using example = await startExample("path_rewrite");
  const table: [string, string][] = [
    ["/api/users?page=2", "/v2/users?page=2"],
    ["/api", "/v2/"],
    ["/apiary", "/apiary"],
    ["/shop/item/7", "/products/7"],
    ["/search/red%20shoes", "/find?q=red%20shoes"],
    ["/elsewhere?a=/api/", "/elsewhere?a=/api/"],
  ];
  for (const [target, expected] of table) {
    const { text } = await example.ask(`GET ${target}`);
    assertEquals(text.split("\n")[1], `GET ${expected}`);
  }
});
