/** Requests for `fetch`, and the responses that it returns. */

import { RequestError } from "../../core/errors.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import type { Body, Bytes } from "../../http/message.ts";
import { asciiTarget } from "../../http/request_target.ts";
import type { OutgoingRequest, ServerResponse } from "../transport.ts";

/** Ports that `fetch` refuses in a URL (the "bad ports" of the WHATWG fetch standard). */
export const BLOCKED_PORTS: ReadonlySet<number> = new Set(
  (
    "0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 " +
    "111 113 115 117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 " +
    "532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 4190 " +
    "5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080"
  ).split(" ").map(Number),
);

/** Methods that `fetch` refuses, and methods that it converts to upper case (WHATWG fetch standard, "normalize"). */
const REFUSED_METHODS: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);
const NORMALISED_METHODS: ReadonlySet<string> = new Set(["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"]);

/**
 * Refuses requests that `fetch` would refuse or change.
 *
 * @throws {RequestError} 400, with the cause
 */
export function refuseWhatFetchChanges({ method, target, body }: OutgoingRequest): void {
  const upper = method.toUpperCase();
  if (REFUSED_METHODS.has(upper) || (upper !== method && NORMALISED_METHODS.has(upper))) {
    throw new RequestError(`Cannot send the method "${method}" by the transport "fetch"; "http1" can`);
  }
  if (body !== null && body.length !== 0 && (method === "GET" || method === "HEAD")) {
    throw new RequestError(`Cannot send a body with ${method} by the transport "fetch"; "http1" can`);
  }
  // Bytes above 0x7F are sent percent-encoded, which is the same URI.
  if (!isExactTarget(asciiTarget(target))) {
    throw new RequestError(
      `Cannot send the target ${
        JSON.stringify(target)
      } by the transport "fetch", which would rewrite it; "http1" can`,
    );
  }
}

/** Characters that a URL parser never changes; `.` and `%` are checked separately. */
const PLAIN: readonly boolean[] = Array.from(
  { length: 128 },
  (_, code) => /[A-Za-z0-9\-_~!$&()*+,;=:@/?]/.test(String.fromCharCode(code)),
);
const DOT = 0x2e;
const PERCENT = 0x25;
const SLASH = 0x2f;

/**
 * Whether `fetch` sends the target unchanged.
 *
 * It parses its input as a URL (WHATWG URL standard) and sends the result: dot segments are resolved, `\\` becomes
 * `/`, a fragment is dropped, `'` in a query and some more characters are percent-encoded.
 */
export function isExactTarget(target: string): boolean {
  if (target.charCodeAt(0) !== SLASH) return false;
  for (let i = 1; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (PLAIN[code] === true) continue;
    // Only a segment that consists of dots, encoded or not, is resolved.
    if (code === DOT && target.charCodeAt(i - 1) !== SLASH) continue;
    if (code === PERCENT && target.charCodeAt(i + 1) !== 0x32) continue;
    return survivesParsing(target);
  }
  return true;
}

function survivesParsing(target: string): boolean {
  const url = `http://h${target}`;
  // The fragment survives parsing, but is not sent.
  return !target.includes("#") && URL.canParse(url) && new URL(url).href === url;
}

/**
 * The fields of a request for `fetch`.
 *
 * - `fetch` writes the framing: a `transfer-encoding` here would be sent in addition to its own.
 * - `fetch` decodes compressed responses unless the *first* `accept-encoding` line is `identity`, so that line is put
 *   before the client's line, and the server still sees what the client accepts.
 * - `fetch` adds its `user-agent` unless there is one; an empty one is the closest to none.
 *
 * @param hostInUrl whether the URL names the host for the server, so that `host` would repeat it
 */
export function toFetchFields(fields: HeaderFields, hostInUrl = false): [string, string][] {
  const list = fields.toList();
  const pairs: [string, string][] = [["accept-encoding", "identity"]];
  let userAgent = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name === "content-length" || name === "transfer-encoding") continue;
    if (hostInUrl && name === "host") continue;
    if (name === "user-agent") userAgent = true;
    pairs.push([name, list[i + 1]!]);
  }
  if (!userAgent) pairs.push(["user-agent", ""]);
  return pairs;
}

/**
 * A `Blob` that announces a length to `fetch`, but streams its content.
 *
 * A plain stream is always sent chunked, and `fetch` sends bytes in memory a second time when a kept connection
 * breaks, for any method.
 */
export class SizedBody extends Blob {
  readonly #size: number;
  readonly #content: ReadableStream<Uint8Array<ArrayBuffer>>;

  constructor(size: number, content: ReadableStream<Uint8Array<ArrayBuffer>>) {
    super();
    this.#size = size;
    this.#content = content;
  }

  override get size(): number {
    return this.#size;
  }

  override stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#content;
  }
}

// Responses of `fetch`: fields, and content that is read into buffers of a suitable size.

/** A response of `fetch`. */
export class FetchResponse implements ServerResponse {
  status: number;
  statusText: string;
  readonly headers: HeaderFields;
  readonly body: FetchContent | null;

  constructor(status: number, statusText: string, headers: HeaderFields, body: FetchContent | null) {
    this.status = status;
    this.statusText = statusText;
    this.headers = headers;
    this.body = body;
  }

  release(): void {
    this.body?.cancel();
  }
}

/** Content of a response, read piece by piece on demand. */
export class FetchContent implements Body {
  readonly length: number | null;
  readonly ready: null = null;
  readonly whole: null = null;
  readonly trailers: readonly string[] = [];
  readonly #source: { read(): Promise<Bytes | null>; cancel(): void };
  #ended = false;

  constructor(length: number | null, source: { read(): Promise<Bytes | null>; cancel(): void }) {
    this.length = length;
    this.#source = source;
  }

  async read(): Promise<Bytes | null> {
    if (this.#ended) return null;
    const piece = await this.#source.read();
    this.#ended = piece === null;
    return piece;
  }

  cancel(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#source.cancel();
  }
}

/** Bytes of one read of content of unknown length, until a piece fills the buffer. */
const FIRST_BYTES = 16 * 1024;
const MOST_BYTES = 64 * 1024;

/**
 * Reads the body of a `Response` of `fetch`.
 *
 * With its own buffers: otherwise the runtime would make one of 64 KiB for each read, and its garbage collector would
 * run for a third of the time with small responses (measured with Deno 2.9.6).
 */
export class Download {
  readonly #reader: ReadableStreamBYOBReader;
  #left: number;
  #filled = false;

  /** @param length of the content, `Infinity` when it is unknown; a hint that is not checked */
  constructor(body: ReadableStream<Bytes>, length: number) {
    this.#reader = body.getReader({ mode: "byob" });
    this.#left = length;
  }

  /** The next piece; `null` at the end. */
  async read(): Promise<Bytes | null> {
    const size = this.#size();
    const { value } = await this.#reader.read(new Uint8Array(size));
    const count = value?.byteLength ?? 0;
    if (count === 0) return null;
    this.#filled = count === size;
    this.#left = count > this.#left ? Infinity : this.#left - count;
    return value as Bytes;
  }

  #size(): number {
    if (this.#left === Infinity) return this.#filled ? MOST_BYTES : FIRST_BYTES;
    // One byte for the end, which the runtime signals by a read without bytes.
    return Math.min(Math.max(this.#left, 1), MOST_BYTES);
  }

  /** Drops the rest. */
  cancel(): void {
    this.#reader.cancel().catch(() => {});
  }
}

/**
 * The fields of a response; `fetch` has sorted them, and has joined repeated fields except `set-cookie`.
 *
 * `fetch` accepts a repeated, equal length (RFC 9110 section 8.6); one of them is kept.
 */
export function fromFetchFields(headers: Headers): HeaderFields {
  const list: string[] = [];
  for (const [name, value] of headers) {
    if (name === "content-length") list.push(name, value.split(",", 1)[0]!.trimEnd());
    else if (name !== "transfer-encoding") list.push(name, value);
  }
  return HeaderFields.adopt(list);
}

/** Length of the content that `fetch` returns: where it decodes content it also removes the length. */
export function lengthOf(headers: HeaderFields): number {
  const declared = headers.get("content-length");
  return declared === null ? Infinity : Number(declared);
}
