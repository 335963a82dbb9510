/** One response, read only by the parser and the body readers, in parts chosen by the test. */

import { UpstreamError } from "../../lib/core/errors.ts";
import type { FieldLines } from "../../lib/http/field_lines.ts";
import { responseBodyReader } from "../../lib/http1/body_reader.ts";
import { ResponseHeadParser } from "../../lib/http1/head_parser.ts";
import { latin1Text } from "./raw_connection.ts";

/** Result for the bytes of a response. */
export interface Reading {
  /** `"refused"` is a protocol error, `"open"` means that more bytes are needed. */
  outcome: "complete" | "open" | "refused";
  /** Message of the protocol error. */
  message: string;
  status: number;
  statusText: string;
  /** Name in lower case, value, name, value. */
  fields: readonly string[];
  persistent: boolean;
  /** The content, one character per byte. */
  content: string;
  /** Name, value, name, value. */
  trailers: readonly string[];
  /** Number of bytes after the end. */
  left: number;
}

const NOTHING: Reading = {
  outcome: "open",
  message: "",
  status: 0,
  statusText: "",
  fields: [],
  persistent: false,
  content: "",
  trailers: [],
  left: 0,
};

/**
 * Reads a response whose bytes arrive in parts that end at the cuts, and then the rest.
 *
 * @throws any error that is not a protocol error
 */
export function readInPieces(bytes: Uint8Array, cuts: readonly number[] = [], method = "GET"): Reading {
  try {
    return read(bytes, [...cuts, bytes.length], method);
  } catch (error) {
    if (!(error instanceof UpstreamError) || error.code !== "http_protocol_error") throw error;
    return { ...NOTHING, outcome: "refused", message: error.message };
  }
}

function read(bytes: Uint8Array, ends: readonly number[], method: string): Reading {
  const head = new ResponseHeadParser();
  // A copy: bytes that have not arrived must not be readable, and the reader moves chunks in the buffer.
  const buffer = new Uint8Array(bytes.length);
  let arrived = 0;
  let next = 0;
  const arrive = () => {
    const end = ends[next++]!;
    buffer.set(bytes.subarray(arrived, end), arrived);
    arrived = end;
  };
  head.begin(0);
  for (;;) {
    if (next === ends.length) return NOTHING;
    arrive();
    if (head.parse(buffer, arrived)) break;
  }
  const { status, reason: statusText, persistent } = head;
  const found = { ...NOTHING, status, statusText, fields: listOf(head.lines), persistent };
  const reader = responseBodyReader(head, method);
  if (reader === null) return { ...found, outcome: "complete", left: bytes.length - head.bodyStart };
  let content = "";
  for (let from = head.bodyStart;; arrive()) {
    reader.read(buffer, from, arrived);
    content += latin1Text(buffer.subarray(reader.contentStart, reader.contentEnd));
    from = reader.next;
    if (reader.done) {
      const { trailers } = reader;
      return { ...found, outcome: "complete", content, trailers, left: bytes.length - from };
    }
    if (next === ends.length) return { ...found, content };
  }
}

/** The field lines as name in lower case, value, name, value. */
function listOf(lines: FieldLines): string[] {
  const list: string[] = [];
  for (let line = 0; line < lines.count; line++) list.push(lines.name(line), lines.value(line));
  return list;
}
