import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/virtual_hosts tells sites apart by host, path and method", async () => {
  await using example = await startExample("virtual_hosts");
  const names: unknown[] = [];
  for (
    const [request, host] of [
      ["GET /", "shop.example"],
      ["GET /", "WWW.shop.example:6188"],
      ["GET /api/cart", "shop.example"],
      ["GET /api/cart", "shop.example"],
      ["GET /", "eve.pages.example"],
      ["DELETE /", "eve.pages.example"],
      ["GET /", "other.example"],
    ]
  ) {
    const { status, field } = await example.ask(request, [`Host: ${host}`]);
    names.push(field("x-upstream") ?? status);
  }
  assertEquals(names, ["shop", "shop", "api one", "api two", "pages", 404, 404]);
  const pages = await example.ask("GET /", ["Host: eve.pages.example"]);
  assertEquals(pages.field("content-security-policy"), "sandbox");
  const api = await example.ask("GET /api/cart", ["Host: shop.example"]);
  assertEquals(api.field("ratelimit-policy"), '"shop api";q=100;w=1');
});
