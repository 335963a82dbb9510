/** Which bytes after a head are its body (RFC 9112 section 6.3). */

import type { BodyReader } from "./body_reader.ts";
import { ChunkedReader } from "./chunked_reader.ts";
import { CloseReader } from "./close_reader.ts";
import type { HeadParser } from "./head_parser.ts";
import { LengthReader } from "./length_reader.ts";

/** Makes the reader of the body that follows a final head; `null` when none does. */
export function responseBodyReader(head: HeadParser, method: string): BodyReader | null {
  if (method === "HEAD" || head.status === 204 || head.status === 304) return null;
  if (head.chunked) return new ChunkedReader();
  if (head.contentLength === -1) return new CloseReader();
  return head.contentLength === 0 ? null : new LengthReader(head.contentLength);
}
