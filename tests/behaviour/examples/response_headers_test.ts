import { assertEquals, assertMatch } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/response_headers says who may read, what to be careful of, and codes what is long", async () => {
  await using example = await startExample("response_headers");

  const { field } = await example.ask("GET /", ["Origin: https://app.example"]);
  assertEquals(
    [
      "access-control-allow-origin",
      "access-control-expose-headers",
      "x-frame-options",
      "x-content-type-options",
    ]
      .map(field),
    ["https://app.example", "x-served-by", "DENY", "nosniff"],
  );
  assertMatch(field("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
  assertMatch(field("x-served-by") ?? "", /^127\.0\.0\.1:\d+$/);
  assertEquals([field("x-upstream"), field("strict-transport-security")], [undefined, undefined]);

  const other = await example.ask("GET /", ["Origin: https://evil.example"]);
  assertEquals([other.status, other.field("access-control-allow-origin")], [200, undefined]);

  const long = await example.ask(`GET /?long=${"a".repeat(2000)}`, ["Accept-Encoding: gzip"]);
  assertEquals([long.field("content-encoding"), long.field("vary")], ["gzip", "Accept-Encoding, Origin"]);
});
