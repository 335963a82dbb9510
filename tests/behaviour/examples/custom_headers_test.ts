import { assert, assertEquals, assertMatch } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/custom_headers edits fields both ways and writes a line of its own", async () => {
  await using example = await startExample("custom_headers");

  const { status, text, field } = await example.ask("GET /path?a=b", ["Cookie: secret=1", "X-Kept: yes"]);

  assertEquals(status, 200);
  // The demo server answers with what it was asked.
  const lines = text.split("\n");
  assert(lines.includes("GET /path?a=b") && lines.includes("x-kept: yes"), text);
  assert(lines.some((line) => /^x-request-id: \S+$/.test(line)), text);
  assert(!lines.some((line) => line.startsWith("cookie:")), text);
  assertMatch(field("x-served-by") ?? "", /^127\.0\.0\.1:\d+$/);
  assertMatch(field("server-timing") ?? "", /^proxy;dur=\d+$/);
  assertEquals(field("x-upstream"), undefined);
  await example.program.stdoutMatch(/^GET \/path\?a=b -> 200/m);
});
