/** The answer to a check, read from a connection of its own. */

import type { ProbeConnection } from "./probe_connection.ts";

/** What a check looks at. */
export interface CheckResponse {
  readonly status: number;
  /** The content, or the beginning of it. */
  readonly body: string;
  /** Whether all of it was read and another request may follow on the connection (RFC 9112 section 9.3). */
  readonly reusable: boolean;
}

/** More than this beside the content is no answer to a check; one read may bring a part of the content too. */
const MAX_BYTES = 65_536;

/**
 * Reads a response up to so many bytes of its content.
 *
 * @param hasContent `false` for answers to HEAD, whose length is not theirs
 * @throws {Error} when what comes is no response of HTTP/1, or ends too early
 */
export async function readResponse(
  connection: ProbeConnection,
  maxBodyBytes: number,
  hasContent = true,
): Promise<CheckResponse> {
  const input = new Input(connection, MAX_BYTES + 2 * maxBodyBytes);
  let head = await readHead(input);
  // Interim responses (RFC 9110 section 15.2) come before the one that counts.
  while (head.status < 200) head = await readHead(input);
  if (!hasContent || maxBodyBytes === 0) {
    return { status: head.status, body: "", reusable: !hasContent && head.persistent && input.empty };
  }
  const { bytes, ended } = head.chunked
    ? await readChunks(input, maxBodyBytes)
    : await readSized(input, head.length, maxBodyBytes);
  const body = new TextDecoder().decode(bytes);
  return { status: head.status, body, reusable: head.persistent && ended && input.empty };
}

interface Content {
  readonly bytes: Uint8Array;
  /** Whether nothing of it is left on the connection. */
  readonly ended: boolean;
}

interface Head {
  readonly status: number;
  readonly chunked: boolean;
  /** Bytes of content; `Infinity` is until the end of the connection. */
  readonly length: number;
  /** Whether the server says nothing against another request. */
  readonly persistent: boolean;
}

async function readHead(input: Input): Promise<Head> {
  const lines: string[] = [];
  for (let line = await input.line(); line !== ""; line = await input.line()) lines.push(line);
  const match = /^HTTP\/1\.[01] ([1-9]\d\d)(?: |$)/.exec(lines[0] ?? "");
  if (match === null) throw new Error("the answer is not HTTP/1");
  const status = Number(match[1]);
  const field = (name: string) =>
    lines.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1);
  const chunked = /\bchunked\b/i.test(field("transfer-encoding") ?? "");
  const length = Number(field("content-length") ?? Infinity);
  if (Number.isNaN(length)) throw new Error("the answer has a bad content-length");
  const persistent = lines[0]!.startsWith("HTTP/1.1") && !/\bclose\b/i.test(field("connection") ?? "");
  const empty = status === 204 || status === 304;
  return { status, chunked: chunked && !empty, length: empty ? 0 : length, persistent };
}

async function readSized(input: Input, length: number, maxBytes: number): Promise<Content> {
  const bytes = await input.take(Math.min(length, maxBytes), length !== Infinity);
  return { bytes, ended: bytes.length === length };
}

async function readChunks(input: Input, maxBytes: number): Promise<Content> {
  const content = new Uint8Array(maxBytes);
  let end = 0;
  while (end < maxBytes) {
    const size = parseInt(await input.line(), 16);
    if (Number.isNaN(size)) throw new Error("the answer has a bad chunk");
    if (size === 0) {
      while (await input.line() !== "");
      return { bytes: content.subarray(0, end), ended: true };
    }
    const chunk = await input.take(Math.min(size, maxBytes - end), true);
    content.set(chunk, end);
    end += chunk.length;
    if (end < maxBytes) await input.line();
  }
  return { bytes: content.subarray(0, end), ended: false };
}

/** What a connection has brought and nobody has taken yet. */
class Input {
  readonly #connection: ProbeConnection;
  readonly #maxBytes: number;
  #bytes: Uint8Array = new Uint8Array(0);
  #total = 0;
  readonly #decoder = new TextDecoder("latin1");

  constructor(connection: ProbeConnection, maxBytes: number) {
    this.#connection = connection;
    this.#maxBytes = maxBytes;
  }

  /** Whether everything that has come was taken. */
  get empty(): boolean {
    return this.#bytes.length === 0;
  }

  /** Takes a line, without its end. */
  async line(): Promise<string> {
    let end = this.#bytes.indexOf(10);
    while (end === -1) {
      if (!await this.#more()) throw new Error("the connection was closed before the end of the answer");
      end = this.#bytes.indexOf(10);
    }
    const line = this.#decoder.decode(this.#bytes.subarray(0, end));
    this.#bytes = this.#bytes.subarray(end + 1);
    return line.endsWith("\r") ? line.slice(0, -1) : line;
  }

  /** Takes bytes; fewer at the end of the connection, unless all are due. */
  async take(count: number, due: boolean): Promise<Uint8Array> {
    while (this.#bytes.length < count) {
      if (await this.#more()) continue;
      if (due) throw new Error("the connection was closed before the end of the answer");
      break;
    }
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(taken.length);
    return taken;
  }

  async #more(): Promise<boolean> {
    const chunk = await this.#connection.read();
    if (chunk === null) return false;
    this.#total += chunk.length;
    if (this.#total > this.#maxBytes) throw new Error("the answer is too long");
    if (this.#bytes.length === 0) {
      this.#bytes = chunk;
      return true;
    }
    const bytes = new Uint8Array(this.#bytes.length + chunk.length);
    bytes.set(this.#bytes);
    bytes.set(chunk, this.#bytes.length);
    this.#bytes = bytes;
    return true;
  }
}
