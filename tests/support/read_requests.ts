/** Requests on one connection, read only by the codec, in parts chosen by the test. */

import { RequestError } from "../../lib/core/errors.ts";
import { requestBodyReader } from "../../lib/http1/body_reader.ts";
import { RequestHeadParser } from "../../lib/http1/request_head.ts";
import { latin1Text } from "./raw_connection.ts";

/** A parsed request; text has one character per byte. */
export interface ReadRequest {
  method: string;
  /** In origin form, or `*`. */
  target: string;
  /** `""` without one. */
  host: string;
  /** 1 for HTTP/1.1, 0 for HTTP/1.0. */
  minor: number;
  persistent: boolean;
  expectsContinue: boolean;
  upgrade: boolean;
  /** Name as written, value, name, value. */
  fields: string[];
  content: string;
  /** Name, value, name, value. */
  trailers: string[];
  /** Offset of the next request in the bytes of the connection. */
  next: number;
}

/** Result for the bytes of a connection. */
export interface RequestsRead {
  /** Complete requests. */
  requests: ReadRequest[];
  /** Status of the refusal, `"open"` if more bytes are needed, `"closed"` if further bytes are ignored. */
  end: number | "open" | "closed";
}

/**
 * Reads requests whose bytes arrive in parts that end at the cuts, and then the rest.
 *
 * @param wrap adds other bytes around the arrived bytes
 * @returns the result, with the error message if the request was refused
 * @throws any error that is not a mistake of the client
 */
export function readRequests(
  bytes: Uint8Array,
  cuts: readonly number[] = [],
  wrap: (buffer: Uint8Array, end: number) => Uint8Array = (buffer) => buffer,
): RequestsRead & { message: string } {
  const requests: ReadRequest[] = [];
  try {
    return { requests, end: readAll(new Arrivals(bytes, cuts, wrap), requests), message: "" };
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return { requests, end: error.status, message: error.message };
  }
}

function readAll(input: Arrivals, requests: ReadRequest[]): "open" | "closed" {
  const parser = new RequestHeadParser();
  for (let at = 0;;) {
    parser.begin(at);
    while (!parser.parse(input.buffer, input.end)) {
      if (!input.more()) return "open";
    }
    const { method, target, host, minor, persistent, expectsContinue, upgrade, lines, bodyStart } = parser;
    const fields: string[] = [];
    for (let line = 0; line < lines.count; line++) fields.push(lines.nameAsWritten(line), lines.value(line));
    const head = { method, target, host, minor, persistent, expectsContinue, upgrade, fields };
    if (!parser.hasContent) {
      requests.push({ ...head, content: "", trailers: [], next: at = bodyStart });
    } else {
      const reader = requestBodyReader(parser);
      let content = "";
      at = bodyStart;
      for (;;) {
        reader.read(input.buffer, at, input.end);
        content += latin1Text(input.buffer.subarray(reader.contentStart, reader.contentEnd));
        at = reader.next;
        if (reader.done) break;
        if (!input.more()) return "open";
      }
      requests.push({ ...head, content, trailers: [...reader.trailers], next: at });
    }
    if (!persistent) return "closed";
  }
}

/** A buffer that is filled in steps; later bytes are absent. */
class Arrivals {
  /** How many bytes have arrived. */
  end = 0;
  buffer: Uint8Array;
  readonly #bytes: Uint8Array;
  readonly #filled: Uint8Array;
  readonly #ends: readonly number[];
  readonly #wrap: (buffer: Uint8Array, end: number) => Uint8Array;
  #next = 0;

  constructor(
    bytes: Uint8Array,
    cuts: readonly number[],
    wrap: (buffer: Uint8Array, end: number) => Uint8Array,
  ) {
    this.#bytes = bytes;
    this.#filled = this.buffer = new Uint8Array(bytes.length);
    this.#ends = [...cuts, bytes.length];
    this.#wrap = wrap;
    this.more();
  }

  /** Adds the next part; `false` if there is none. */
  more(): boolean {
    if (this.#next === this.#ends.length) return false;
    const end = this.#ends[this.#next++]!;
    this.#filled.set(this.#bytes.subarray(this.end, end), this.end);
    this.end = end;
    this.buffer = this.#wrap(this.#filled, end);
    return true;
  }
}
