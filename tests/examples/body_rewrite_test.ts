import { assertEquals, assertStringIncludes } from "@std/assert";
import { startExample } from "../support/start_example.ts";

Deno.test("examples/body_rewrite changes what servers say, and counts what clients send", async () => {
  await using example = await startExample("body_rewrite");

  const { text, field } = await example.ask("GET /?from=inside.example&to=inside.example");
  assertStringIncludes(text, "GET /?from=www.example&to=www.example\n");
  assertStringIncludes(text, "accept-encoding: identity\n");
  assertEquals([field("content-length"), field("transfer-encoding")], [undefined, "chunked"]);

  await example.ask("POST /form", ["Content-Length: 12"], "some content");
  const { stderr } = await example.stop();
  assertStringIncludes(stderr, "POST /form came with 12 bytes");
});
