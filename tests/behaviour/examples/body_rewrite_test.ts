import { assertEquals, assertStringIncludes } from "@std/assert";
import { startExample } from "../../support/start_example.ts";
import { startUpstream } from "../../support/start_upstream.ts";

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

Deno.test("examples/body_rewrite finds what comes in two pieces, and keeps nothing else back", async () => {
  const begun = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: () => {
      const pieces = ["x".repeat(100) + "inside.exa", "mple/inside.example"];
      const body = new ReadableStream<string>({
        async pull(controller) {
          const piece = pieces.shift();
          if (piece === undefined) return controller.close();
          if (pieces.length === 0) await begun.promise;
          controller.enqueue(piece);
        },
      }, { highWaterMark: 0 });
      return new Response(body.pipeThrough(new TextEncoderStream()), {
        headers: { "content-type": "text/plain" },
      });
    },
  });
  await using example = await startExample("body_rewrite", { set: { upstreams: [upstream.address] } });
  const response = await example.fetch("/");
  let text = "";
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.length >= 97) begun.resolve();
  }
  assertEquals(text, "x".repeat(100) + "www.example/www.example");
});
