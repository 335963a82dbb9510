// Change content: responses of the server name www.example in place of inside.example, and the bytes that clients send are counted.
// Both work on streams, so longer content takes no more memory.
//
//   deno run -A ../mod.ts body_rewrite.config.ts
// The response names www.example:
//   curl -v "http://127.0.0.1:6188/?from=inside.example"
// The log says how many bytes were received:
//   curl -v "http://127.0.0.1:6188/" -d "some content"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

const INSIDE = "inside.example";
const OUTSIDE = "www.example";

/** Replaces a text everywhere, also where it is split between two chunks. */
function replaceText(): TransformStream<string, string> {
  let rest = "";
  return new TransformStream({
    transform(piece, controller) {
      const text = (rest + piece).replaceAll(INSIDE, OUTSIDE);
      // The end of a chunk may be the beginning of the text: keep it until the next chunk.
      const keep = Math.min(text.length, INSIDE.length - 1);
      rest = text.slice(text.length - keep);
      controller.enqueue(text.slice(0, text.length - keep));
    },
    flush(controller) {
      controller.enqueue(rest);
    },
  });
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one")],

  // A filter cannot read compressed content, and part of a file (Range) may begin or end inside the text.
  upstreamRequestFilter(request) {
    request.headers.set("accept-encoding", "identity");
    request.headers.delete("range");
  },

  responseBodyFilter(body, _ctx, response) {
    if (!response.headers.get("content-type")?.startsWith("text/")) return; // unchanged
    return body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(replaceText())
      .pipeThrough(new TextEncoderStream());
  },

  requestBodyFilter(body, ctx) {
    let bytes = 0;
    return body.pipeThrough(
      new TransformStream({
        transform(piece, controller) {
          bytes += piece.byteLength;
          controller.enqueue(piece);
        },
        flush() {
          ctx.log.info(`${ctx.method} ${ctx.target} came with ${bytes} bytes`);
        },
      }),
    );
  },
});
