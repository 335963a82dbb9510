/** Takes hold of the content of a request. */

import { ClientGoneError, ProxyError, RequestError } from "../core/errors.ts";
import type { RequestBody } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import type { RequestFields } from "./read_fields.ts";
import { contentError, type ContentReader, type ContentSource, ReplayBody } from "./replay_body.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Content up to this length is read before a server is chosen; it can then be sent again as often as needed. */
const BUFFERED_BYTES = 65536;

/** Whether the runtime gives access to content that comes with the method. */
export function mayHaveContent(method: string): boolean {
  return method !== "GET" && method !== "HEAD";
}

/** Whether content is declared that is not read at once, by a client of HTTP/1.1; HTTP/2 has no Host field. */
export function bringsLongContent({ host, contentLength, transferEncoding }: RequestFields): boolean {
  return host !== null && (transferEncoding !== null || Number(contentLength) > BUFFERED_BYTES);
}

/**
 * Sets the exchange's body: in memory when it is short, otherwise as a stream that is read as a server takes it.
 *
 * @throws {RequestError} 400 when the length is not a number, 501 when the content is coded in a way that the runtime
 * has not undone, 408 when the client is too slow
 * @throws {ClientGoneError} when the client goes away before it has sent what it declared
 */
export async function readBody(exchange: Exchange): Promise<void> {
  const { received, runtime, fields } = exchange;
  const { contentLength: declared, transferEncoding, host } = fields;
  // HTTP/1.1 says so when there is content; HTTP/2 (which has no Host field) need not.
  if (declared === null && transferEncoding === null && host !== null) return;
  // Sent on without its coding, the content would be something else (RFC 9112 section 6.1).
  if (transferEncoding !== null && transferEncoding.toLowerCase() !== "chunked") {
    throw new RequestError(
      `The transfer coding must be "chunked", received ${JSON.stringify(transferEncoding)}`,
      501,
    );
  }
  const length = declared === null ? null : readLength(declared);
  if (length === 0) {
    exchange.body = EMPTY;
    return;
  }
  const { timeouts: { idleMs, totalMs }, startedAt } = exchange;
  if (length !== null && length <= BUFFERED_BYTES) {
    const leftMs = totalMs === Infinity ? Infinity : startedAt + totalMs - runtime.clock.now();
    exchange.body = await readWhole(exchange, length, Math.min(idleMs, leftMs));
    runtime.running.progressed();
    return;
  }
  const { running, wheel } = runtime;
  const source = length === null ? new ChunkedContent(received.body!) : received.body!;
  exchange.body = new ReplayBody(source, {
    length,
    wheel,
    idleMs,
    onEnd: () => running.progressed(),
  });
}

/** The runtime lets a length through that is there twice (RFC 9112 section 6.3). */
function readLength(declared: string): number {
  for (let i = 0; i < declared.length; i++) {
    const code = declared.charCodeAt(i);
    if (code < 0x30 || code > 0x39) {
      throw new RequestError(`Content-Length must be one number, received ${JSON.stringify(declared)}`);
    }
  }
  return Number(declared);
}

async function readWhole(exchange: Exchange, length: number, withinMs: number): Promise<RequestBody> {
  const { received, runtime, cancellation } = exchange;
  const { promise: whole, resolve, reject } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  using deadline = runtime.wheel.deadline(() => {
    reject(new RequestError("The client sent its content too slowly", 408));
  });
  deadline.set(withinMs);
  cancellation.listen(reject);
  // What is left of it stays with the runtime, which waits for the rest of it before it takes the next request.
  received.bytes().then(resolve, reject);
  try {
    return new BufferedBody(await whole, length);
  } catch (error) {
    throw error instanceof ProxyError ? error : contentError(error);
  } finally {
    cancellation.listen(null);
  }
}

/**
 * Most bytes of one read of chunked content. The runtime finds a trailer section too long only when it may read more than
 * the 64 KiB of one at a time; in pieces of 64 KiB it reads on for ever (Deno 2.9.6).
 */
const CHUNKED_READ_BYTES = 66 * 1024;

/** Chunked content, whose trailer section has an end. */
class ChunkedContent implements ContentSource, ContentReader {
  readonly #stream: ReadableStream<Bytes>;
  #reader: ReadableStreamBYOBReader | null = null;
  #buffer: Bytes | null = null;

  constructor(stream: ReadableStream<Bytes>) {
    this.#stream = stream;
  }

  getReader(): ContentReader {
    try {
      this.#reader = this.#stream.getReader({ mode: "byob" });
      return this;
    } catch {
      // Content that had come with the head, its end included, is no stream of bytes.
      return this.#stream.getReader();
    }
  }

  async read(): ReturnType<ContentReader["read"]> {
    const buffer = this.#buffer ?? new Uint8Array(CHUNKED_READ_BYTES);
    this.#buffer = null;
    const { value, done } = await this.#reader!.read(buffer);
    if (done) return { done: true };
    const piece = value as Bytes;
    if (piece.length > CHUNKED_READ_BYTES / 2) return { done: false, value: piece };
    this.#buffer = new Uint8Array(piece.buffer);
    return { done: false, value: piece.slice() };
  }

  cancel(): Promise<void> {
    return this.#reader === null ? this.#stream.cancel() : this.#reader.cancel();
  }
}

/** Content that is in memory. */
class BufferedBody implements RequestBody {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly length: number;

  constructor(bytes: Uint8Array<ArrayBuffer>, declared: number) {
    if (bytes.byteLength !== declared) {
      throw new ClientGoneError(`The client sent ${bytes.byteLength} of ${declared} bytes`);
    }
    this.bytes = bytes;
    this.length = bytes.byteLength;
  }

  open(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return ReadableStream.from([this.bytes]);
  }

  [Symbol.dispose](): void {}
}

const EMPTY: RequestBody = new BufferedBody(new Uint8Array(0), 0);
