/** Limit of the request content. */

import { type Filters, keepLength, named } from "../filter/filters.ts";
import { byteSize } from "../core/options.ts";
import { type ByteSize, parseByteSize } from "../core/units.ts";
import { RequestError } from "../core/errors.ts";
import { checkFilter, refuse } from "./filter_support.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Refuses requests with more content than `max` with 413.
 *
 * A request with a larger declared length is refused before its content is read. Other content is counted while it is
 * forwarded; beyond the limit the request to the server is broken off, never ended cleanly.
 *
 * @param max bytes, or text such as `"64KiB"`, `"10MB"`
 * @throws {TypeError} when `max` is invalid
 *
 * @example
 * ```ts
 * import { defineConfig, maxBodySize } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [maxBodySize("10MB")],
 * });
 * ```
 */
export function maxBodySize(max: ByteSize): Filters {
  checkFilter("maxBodySize", byteSize(), max, "the size");
  const maxBytes = parseByteSize(max)!;
  const message = `The content must not be longer than ${maxBytes} bytes`;
  return named("maxBodySize", {
    requestFilter: (_request, ctx) => {
      const declared = ctx.request.headers.get("content-length");
      if (declared === null || !(Number(declared) > maxBytes)) return;
      // Otherwise the rest of the content would have to be read before the next request of the connection.
      return refuse(413, message, { connection: "close" });
    },
    requestBodyFilter: (body, { request }) => {
      // The runtime enforces the declared length.
      if (request.headers.has("content-length")) return;
      return keepLength(body.pipeThrough(
        counted(maxBytes, () => new RequestError(message, 413, { connection: "close" })),
      ));
    },
  });
}

function counted(maxBytes: number, tooMuch: () => RequestError): TransformStream<Bytes, Bytes> {
  let seen = 0;
  return new TransformStream<Bytes, Bytes>({
    transform(piece, controller): void {
      seen += piece.byteLength;
      if (seen > maxBytes) throw tooMuch();
      controller.enqueue(piece);
    },
  });
}
