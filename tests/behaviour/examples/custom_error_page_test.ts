import { assertEquals, assertStringIncludes } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/custom_error_page answers failures with its page, and closes a part of the site", async () => {
  await using example = await startExample("custom_error_page");

  for (const [target, status] of [["/dead", 502], ["/broken", 500]] as const) {
    const failed = await example.ask(`GET ${target}`);
    assertEquals([failed.status, failed.field("content-type")], [status, "text/html; charset=utf-8"]);
    assertStringIncludes(failed.text, "<h1>Something is out of order</h1>");
    assertEquals(failed.text.includes("secret"), false);
    assertEquals(failed.field("x-content-type-options"), target === "/dead" ? "nosniff" : undefined);
  }

  const closed = await example.ask("GET /closed/page");
  assertEquals([
    closed.status,
    closed.field("retry-after"),
    closed.text,
    closed.field("x-content-type-options"),
  ], [
    503,
    "3600",
    "Closed for maintenance\n",
    "nosniff",
  ]);
});
