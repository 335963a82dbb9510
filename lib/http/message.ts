/** Messages as the steps of a request see them: heads with fields, and content that is pulled. */

import { unexpected } from "../core/callback.ts";
import type { ProxyError } from "../core/errors.ts";
import type { HeaderFields } from "./header_fields.ts";

/** Bytes as sockets and web streams take them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** The content of a message; its reader sets the pace. */
export interface Body {
  /** Length in bytes if it is known before the end; otherwise `null`. */
  readonly length: number | null;
  /** The piece that {@linkcode Body.read} would return at once; `null` when it has to be waited for. */
  readonly ready: Bytes | null;
  /** The whole content, if it is in memory and nothing of it was read; otherwise `null`. Valid as long as a piece. */
  readonly whole: Bytes | null;
  /**
   * Waits for the next piece; `null` at the end.
   *
   * A piece is lent: it is valid until the next call of {@linkcode Body.read} or {@linkcode Body.cancel}.
   *
   * @throws {ProxyError} the reason, when the content stops before its end
   */
  read(): Promise<Bytes | null>;
  /** Drops the unread content; does nothing at the end. */
  cancel(reason?: unknown): void;
  /** Trailer fields as name, value, name, value, ..., known at the end; names are lower case. */
  readonly trailers: readonly string[];
}

/** The content of a request, which may have to be sent more than once. */
export interface RequestBody extends Body {
  /** Whether nothing more is read from the client. */
  readonly ended: boolean;
  /** Why the client's content could not be read; `null` while it can. */
  readonly failure: ProxyError | null;
  /** Whether {@linkcode RequestBody.rewind} is possible. */
  readonly repeatable: boolean;
  /** Starts again from the first byte, for another server. */
  rewind(): void;
}

/** The head of a response; a filter edits it in place. */
export interface ResponseHead {
  /** Status code. */
  status: number;
  /** Reason phrase; `""` for none. */
  statusText: string;
  /** Fields in order. */
  readonly headers: HeaderFields;
}

// Content in memory and content of streams, as {@linkcode Body} and as `ReadableStream`.

/** A stream of the content. The content is read only when the stream is read. */
export function streamOf(body: Body): ReadableStream<Bytes> {
  return new ReadableStream<Bytes>({
    async pull(controller): Promise<void> {
      const piece = await body.read();
      if (piece === null) controller.close();
      // A piece is lent, but the reader of a stream may keep it.
      else controller.enqueue(piece.slice());
    },
    cancel: (reason) => body.cancel(reason),
  }, { highWaterMark: 0 });
}

/** Content of a `ReadableStream`. */
export class StreamBody implements Body {
  readonly trailers: readonly string[] = [];
  readonly #stream: ReadableStream<Bytes>;
  readonly #declared: number | null;
  #reader: ReadableStreamDefaultReader<Bytes> | null = null;
  #first: Bytes | null = null;
  #pending: Promise<ReadableStreamReadResult<Bytes>> | null = null;
  #ended = false;

  /** @param length of the content; `null` when it is unknown */
  constructor(stream: ReadableStream<Bytes>, length: number | null = null) {
    this.#stream = stream;
    this.#declared = length;
  }

  get length(): number | null {
    return this.whole?.length ?? this.#declared;
  }

  get ready(): Bytes | null {
    return this.#first;
  }

  get whole(): Bytes | null {
    return this.#ended ? this.#first : null;
  }

  /** Checks whether the stream has its whole content in memory already, as that of `new Response("text")` has. */
  async gather(): Promise<void> {
    const reader = this.#reader ??= this.#stream.getReader();
    this.#pending = reader.read();
    if (!await endsInTurn(this.#pending)) return;
    const { value, done } = await this.#pending;
    // `read()` reports a value that is no content.
    if (!done && !(value instanceof Uint8Array)) return;
    this.#first = done ? new Uint8Array(0) : value;
    this.#pending = null;
    this.#ended = done;
    if (done) return;
    this.#pending = reader.read();
    if (await endsInTurn(this.#pending)) this.#ended = (await this.#pending).done;
  }

  async read(): Promise<Bytes | null> {
    const first = this.#first;
    this.#first = null;
    if (first !== null && first.length > 0) return first;
    if (this.#ended) return null;
    this.#reader ??= this.#stream.getReader();
    const pending = this.#pending ?? this.#reader.read();
    this.#pending = null;
    const { value, done } = await pending;
    if (done) return null;
    if (!(value instanceof Uint8Array)) {
      this.cancel();
      throw unexpected("content in pieces of type Uint8Array", value);
    }
    return value;
  }

  cancel(reason?: unknown): void {
    if (this.#ended) return;
    const cancelled = this.#reader === null ? this.#stream.cancel(reason) : this.#reader.cancel(reason);
    cancelled.catch(() => {});
  }
}

/** Whether a promise settles before the next turn of the event loop. */
async function endsInTurn(promise: Promise<unknown>): Promise<boolean> {
  const { promise: turned, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), 0);
  const settled = await Promise.race([promise.then(() => true, () => true), turned]);
  clearTimeout(timer);
  return settled;
}

const NO_TRAILERS: readonly string[] = Object.freeze([]);

/** Content in memory. */
export class WholeBody implements Body {
  readonly trailers: readonly string[] = NO_TRAILERS;
  #bytes: Bytes | null;
  readonly length: number;

  constructor(bytes: Bytes) {
    this.#bytes = bytes;
    this.length = bytes.length;
  }

  get ready(): Bytes | null {
    return this.#bytes;
  }

  get whole(): Bytes | null {
    return this.#bytes;
  }

  read(): Promise<Bytes | null> {
    const bytes = this.#bytes;
    this.#bytes = null;
    return Promise.resolve(bytes === null || bytes.length === 0 ? null : bytes);
  }

  cancel(): void {
    this.#bytes = null;
  }
}

// Reason phrases of statuses (RFC 9110 section 15 and the IANA registry), and which messages have content.

const PHRASES: Readonly<Record<number, string>> = {
  100: "Continue",
  101: "Switching Protocols",
  102: "Processing",
  103: "Early Hints",
  200: "OK",
  201: "Created",
  202: "Accepted",
  203: "Non-Authoritative Information",
  204: "No Content",
  205: "Reset Content",
  206: "Partial Content",
  207: "Multi-Status",
  300: "Multiple Choices",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  402: "Payment Required",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  417: "Expectation Failed",
  418: "I'm a teapot",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  423: "Locked",
  424: "Failed Dependency",
  425: "Too Early",
  426: "Upgrade Required",
  428: "Precondition Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  451: "Unavailable For Legal Reasons",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
  508: "Loop Detected",
  511: "Network Authentication Required",
};

/**
 * Whether a response never has content (RFC 9110 section 6.4.1). A 304 may have the `Content-Length` that a 200 would
 * have.
 */
export function hasNoContent(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}

/** Whether content is sent after the head of a response. */
export function sendsContent(method: string, status: number): boolean {
  return method !== "HEAD" && !hasNoContent(status);
}

/** Whether content may follow the head of a response (RFC 9112 section 6.3); that of a 205 too. */
export function mayReceiveContent(method: string, status: number): boolean {
  return method !== "HEAD" && status >= 200 && status !== 204 && status !== 304;
}

/** The standard phrase of a status; `""` if there is none. */
export function reasonPhrase(status: number): string {
  return PHRASES[status] ?? "";
}
