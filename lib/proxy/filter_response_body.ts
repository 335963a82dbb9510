/** Lets the configuration change the content of a server's answer. */

import { FilterError } from "../core/errors.ts";
import type { FilteredContent, Filters } from "../config/filters.ts";
import { hasNoContent } from "../http/make_response.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { UpstreamResponse } from "../transport/transport.ts";
import { checkContent, type CheckedContent } from "./checked_content.ts";
import type { Exchange } from "./exchange.ts";
import { FilteredStream } from "./filtered_stream.ts";
import { runFilter } from "./run_filter.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Runs `responseBodyFilter` where there is content, and puts what it makes in the place of the answer's.
 *
 * @throws {FilterError} when it throws, rejects, or returns something else than content
 */
export function filterResponseBody(
  exchange: Exchange,
  response: UpstreamResponse,
  responseBodyFilter: NonNullable<Filters["responseBodyFilter"]>,
): void | Promise<void> {
  const { body, headers, status } = response;
  // What a HEAD says of the length would be the server's.
  if (exchange.method === "HEAD") return forgetContent(headers, null);
  if (body === null || hasNoContent(status)) return;
  exchange.status = status;
  const original = body instanceof ReadableStream ? body : streamOf(body);
  // Before the filter runs: it may read all of the server's content before it returns.
  const filtered = exchange.filtered = new FilteredStream(
    exchange,
    "responseBodyFilter",
    body instanceof ReadableStream ? "running" : "ended",
  );
  const filter = (content: ReadableStream<Bytes>) => responseBodyFilter(content, exchange, response);
  const made = runFilter("responseBodyFilter", filter, original, exchange);
  const take = (content: FilteredContent): void => {
    exchange.throwIfCancelled();
    let checked: CheckedContent | null;
    try {
      checked = checkContent(content, original);
    } catch (error) {
      throw new FilterError("responseBodyFilter", error);
    }
    if (checked === null) {
      exchange.filtered = null;
      return;
    }
    forgetContent(headers, checked.length);
    filtered.take(checked.stream.getReader());
    response.body = new ReadableStream<Bytes>(filtered, { highWaterMark: 0 });
  };
  return made instanceof Promise ? made.then(take) : take(made);
}

function streamOf(bytes: Bytes): ReadableStream<Bytes> {
  return new ReadableStream<Bytes>({
    pull(controller): void {
      if (bytes.byteLength > 0) controller.enqueue(bytes);
      controller.close();
    },
  }, { highWaterMark: 0 });
}

/** Drops what was said of content that the client is not going to get. */
function forgetContent(headers: HeaderFields, length: number | null): void {
  for (const name of ["content-length", "content-md5", "content-digest", "repr-digest", "digest"]) {
    headers.delete(name);
  }
  // Parts of it are parts of something else, and so is what stands under a strong tag (RFC 9110 section 8.8.3).
  headers.delete("accept-ranges");
  const tag = headers.get("etag");
  if (tag !== null && tag.startsWith('"')) headers.set("etag", `W/${tag}`);
  if (length !== null) headers.set("content-length", String(length));
}
