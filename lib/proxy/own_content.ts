/** Content of responses that no server has given: how much of it the client gets. */

import { unexpected } from "../core/callback.ts";
import { FilterError, type ProxyError } from "../core/errors.ts";
import { makeResponse } from "../http/make_response.ts";
import type { Exchange } from "./exchange.ts";
import { FilteredStream, type PieceReader } from "./filtered_stream.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();

/** Where the runtime keeps a text that a response was made of, and everything else of it (Deno 2.9.6). */
const [TEXT, INNER] = ["lazy static body", "response"].map((description) =>
  Object.getOwnPropertySymbols(new Response()).find((symbol) => symbol.description === description) ??
    Symbol()
) as [symbol, symbol];

/**
 * How many bytes of content a response has that was made of a text or of bytes; `null` where it is a stream.
 *
 * There is no other way to find out: to ask for its `body` makes a stream of it, which the runtime sends in chunks, without
 * its length, and at twice the cost of the whole request. A runtime that keeps it elsewhere is believed to have a stream.
 */
export function bytesAtHand(response: Response): number | null {
  const text: unknown = Reflect.get(response, TEXT);
  if (typeof text === "string") return byteLength(text);
  const inner: unknown = Reflect.get(response, INNER);
  if (!isObject(inner) || inner.body === undefined) return null;
  if (inner.body === null) return 0;
  const held = isObject(inner.body) && isObject(inner.body.streamOrStatic)
    ? inner.body.streamOrStatic.body
    : null;
  if (typeof held === "string") return byteLength(held);
  return held instanceof Uint8Array ? held.byteLength : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function byteLength(text: string): number {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return encoder.encode(text).byteLength;
  }
  return text.length;
}

/**
 * The same response with content that is counted while the client is given it, and settles the exchange at its end.
 *
 * @param phase who has made the response, for the log
 * @param failure what the exchange has failed by, where the response tells the client of it
 * @throws {FilterError} when somebody reads the content already
 */
export function countContent(
  exchange: Exchange,
  { status, headers, body }: Response,
  phase: string,
  failure: ProxyError | null,
): Response {
  const content = new FilteredStream(exchange, phase, "none", failure);
  try {
    content.take(checkedReader(body!.getReader()));
  } catch (error) {
    throw new FilterError(phase, error);
  }
  // The runtime need not know any more who it is when the exchange is settled.
  void exchange.identity;
  exchange.filtered = content;
  exchange.releaseServer();
  const stream = new ReadableStream<Bytes>(content, { highWaterMark: 0 });
  return makeResponse(status, [...headers].flat(), stream);
}

function checkedReader(reader: ReadableStreamDefaultReader<Bytes>): PieceReader {
  return {
    async read(): Promise<ReadableStreamReadResult<Bytes>> {
      const piece = await reader.read();
      if (piece.done || piece.value instanceof Uint8Array) return piece;
      reader.cancel().catch(() => {});
      throw unexpected("a Response whose content comes in pieces of type Uint8Array", piece.value);
    },
    cancel: (reason) => reader.cancel(reason),
  };
}
