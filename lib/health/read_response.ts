/** The response to a check, read from a connection of its own as strictly as those to requests. */

import { responseBodyReader } from "../http1/body_framing.ts";
import { ResponseHeadParser } from "../http1/response_head.ts";
import type { ProbeConnection } from "./probe_connection.ts";

/** What a check looks at. */
export interface CheckResponse {
  readonly status: number;
  /** The content, or the beginning of it. */
  readonly body: string;
  /** Whether all of it was read and another request may follow on the connection (RFC 9112 section 9.3). */
  readonly reusable: boolean;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** More framing than this beside the content is no response to a check. */
const MAX_FRAMING_BYTES = 65_536;

/** Most interim responses before the one that counts. */
const MAX_INTERIM = 16;

/**
 * Reads a response up to so many bytes of its content; what comes with the head is looked at in any case.
 *
 * @param method of the request, which decides whether there is content
 * @throws {Error} when what comes is nothing that would be forwarded, or ends too early
 */
export async function readResponse(
  connection: ProbeConnection,
  maxBodyBytes: number,
  method = "GET",
): Promise<CheckResponse> {
  const head = new ResponseHeadParser();
  let bytes = await readHead(connection, head);
  const { status, persistent } = head;
  const reader = responseBodyReader(head, method);
  let from = head.bodyStart;
  if (reader === null) return { status, body: "", reusable: persistent && from === bytes.length };
  const pieces: Bytes[] = [];
  let missing = maxBodyBytes;
  let framing = 0;
  for (;;) {
    reader.read(bytes, from, bytes.length);
    const content = reader.contentEnd - reader.contentStart;
    framing += reader.next - from - content;
    if (framing > MAX_FRAMING_BYTES) throw new Error("the response is too long");
    pieces.push(bytes.slice(reader.contentStart, reader.contentStart + Math.min(content, missing)));
    missing -= Math.min(content, missing);
    if (reader.done || missing === 0) break;
    const more = await read(connection);
    if (more === null) {
      if (reader.endsWithConnection) break;
      throw tooShort();
    }
    bytes = more;
    from = 0;
  }
  const reusable = persistent && reader.done && reader.next === bytes.length;
  return { status, body: await new Blob(pieces).text(), reusable };
}

/** Reads the head of the final response; gives what it was read from, with what has come after it. */
async function readHead(connection: ProbeConnection, head: ResponseHeadParser): Promise<Bytes> {
  head.begin(0);
  let bytes: Bytes = new Uint8Array(0);
  for (let interim = 0;;) {
    if (!head.parse(bytes, bytes.length)) {
      const more = await read(connection);
      if (more === null) throw tooShort();
      bytes = joined(bytes, more);
    } else if (head.status >= 200) {
      return bytes;
    } else {
      if (head.status === 101 || ++interim > MAX_INTERIM) {
        throw new Error("the response is none to the request");
      }
      bytes = bytes.slice(head.bodyStart);
      head.begin(0);
    }
  }
}

async function read(connection: ProbeConnection): Promise<Bytes | null> {
  return await connection.read() as Bytes | null;
}

function joined(before: Bytes, after: Bytes): Bytes {
  if (before.length === 0) return after;
  const bytes = new Uint8Array(before.length + after.length);
  bytes.set(before);
  bytes.set(after, before.length);
  return bytes;
}

function tooShort(): Error {
  return new Error("the connection was closed before the end of the response");
}
