import { assertEquals, assertStringIncludes } from "@std/assert";
import { startExample } from "../support/start_example.ts";

Deno.test("examples/custom_error_page answers failures with its page, and closes a part of the site", async () => {
  await using example = await startExample("custom_error_page");

  const failed = await example.ask("GET /");
  assertEquals([failed.status, failed.field("content-type")], [502, "text/html; charset=utf-8"]);
  assertStringIncludes(failed.text, "<h1>Something is out of order</h1>");

  const closed = await example.ask("GET /closed/page");
  assertEquals([closed.status, closed.field("retry-after"), closed.text], [
    503,
    "3600",
    "Closed for maintenance\n",
  ]);
});
