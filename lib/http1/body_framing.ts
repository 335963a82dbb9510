/** Which bytes after a head are its content (RFC 9112 section 6.3). */

import { connectionNamedFields } from "../http/hop_by_hop.ts";
import { malformedResponse, type ResponseHeadParser } from "./response_head.ts";
import { badRequest, type RequestHeadParser } from "./request_head.ts";
import { type BodyReader, CloseReader, LengthReader } from "./body_reader.ts";
import { ChunkedReader } from "./chunked_reader.ts";
import type { HeadParser } from "./head_parser.ts";

/** Makes the reader of the content that follows the head of a response; `null` when none does. */
export function responseBodyReader(head: ResponseHeadParser, method: string): BodyReader | null {
  const { status } = head;
  if (method === "HEAD" || status < 200 || status === 204 || status === 304) return null;
  if (head.chunked) return new ChunkedReader(RESPONSE_CHUNKS, namedFields(head));
  if (head.contentLength === -1) return new CloseReader();
  return head.contentLength === 0 ? null : new LengthReader(head.contentLength);
}

/** Makes the reader of the content that follows the head of a request; `null` when none does. */
export function requestBodyReader(head: RequestHeadParser): BodyReader | null {
  if (head.chunked) return new ChunkedReader(REQUEST_CHUNKS, namedFields(head));
  return head.contentLength > 0 ? new LengthReader(head.contentLength) : null;
}

function namedFields({ namesFields, lines }: HeadParser): ReadonlySet<string> | null {
  return namesFields ? connectionNamedFields(lines.joined("connection")) : null;
}

const RESPONSE_CHUNKS = {
  fail: malformedResponse,
  // Old servers pad the size to a fixed width.
  lenient: true,
  maxExtensionBytes: 16 * 1024,
  maxTrailerBytes: 64 * 1024,
};

const REQUEST_CHUNKS = {
  fail: badRequest,
  lenient: false,
  maxExtensionBytes: 4 * 1024,
  maxTrailerBytes: 8 * 1024,
};
