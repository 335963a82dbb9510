/** A TCP connection at the byte level, for both ends of a test. */

import { closeQuietly } from "./close_quietly.ts";

const encoder = new TextEncoder();
const latin1 = new TextDecoder("latin1");

/** A message read from bytes. */
export interface RawMessage {
  /** Start line without its line end. */
  startLine: string;
  /** Field lines as received, in order, names unchanged. */
  fields: [string, string][];
  /** Start line and fields as received, with the empty line. */
  head: string;
  /** Content without its transfer coding. */
  body: Uint8Array<ArrayBuffer>;
}

/** Converts text to bytes, one byte per character, so that a test can send any byte. */
export function latin1Bytes(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Reads exactly the requested bytes and keeps the rest; closing twice does nothing. */
export class RawConnection implements Disposable {
  readonly conn: Deno.Conn;
  /** Received bytes that were not requested yet. */
  #kept: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #closed = false;
  /** Number of bytes received so far. */
  received = 0;

  constructor(conn: Deno.Conn) {
    this.conn = conn;
  }

  /** Whether this side has closed the connection. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Writes bytes; text is sent as latin-1. */
  async write(data: string | Uint8Array): Promise<void> {
    let rest = typeof data === "string" ? latin1Bytes(data) : data;
    while (rest.length > 0) rest = rest.subarray(await this.conn.write(rest));
  }

  /** The next bytes, at most `limit`; `null` at the end. */
  async read(limit = 65536): Promise<Uint8Array<ArrayBuffer> | null> {
    if (this.#kept.length > 0) {
      const part = this.#kept.slice(0, limit);
      this.#kept = this.#kept.slice(limit);
      return part;
    }
    const buffer = new Uint8Array(limit);
    const count = await this.conn.read(buffer);
    if (count === null) return null;
    this.received += count;
    return buffer.slice(0, count);
  }

  /** Reads exactly `count` bytes. */
  async readExactly(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const result = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const part = await this.read(count - at);
      if (part === null) throw new Error(`Connection ended after ${at} of ${count} bytes`);
      result.set(part, at);
      at += part.length;
    }
    return result;
  }

  /** Reads up to and including `mark`; `null` if the connection ended before the first byte. */
  async readUntil(mark: string): Promise<string | null> {
    let text = "";
    for (;;) {
      const part = await this.read();
      if (part === null) {
        if (text === "") return null;
        throw new Error(`Connection ended before ${JSON.stringify(mark)}, after ${JSON.stringify(text)}`);
      }
      const from = Math.max(0, text.length - mark.length);
      text += latin1Text(part);
      const at = text.indexOf(mark, from);
      if (at === -1) continue;
      const end = at + mark.length;
      this.#unread(latin1Bytes(text.slice(end)));
      return text.slice(0, end);
    }
  }

  #unread(bytes: Uint8Array<ArrayBuffer>): void {
    const joined = new Uint8Array(bytes.length + this.#kept.length);
    joined.set(bytes);
    joined.set(this.#kept, bytes.length);
    this.#kept = joined;
  }

  /** A head up to its empty line; `null` if the other side closed instead. */
  readHead(): Promise<string | null> {
    return this.readUntil("\r\n\r\n");
  }

  /** Reads until the other side closes. */
  async readToEnd(): Promise<Uint8Array<ArrayBuffer>> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for (let part = await this.read(); part !== null; part = await this.read()) parts.push(part);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  /** A whole request; `null` if the other side closed instead. */
  async readRequest(): Promise<RawMessage | null> {
    const head = await this.readHead();
    return head === null ? null : await this.#readMessage(head, "empty");
  }

  /**
   * A whole response.
   *
   * @param method method of the request: a response to HEAD has no content
   */
  async readResponse(method = "GET"): Promise<RawMessage & { status: number }> {
    const head = await this.readHead();
    if (head === null) throw new Error("Connection ended without a response");
    const status = Number(head.slice(9, 12));
    const bodiless = method === "HEAD" || status < 200 || status === 204 || status === 304;
    const message = await this.#readMessage(head, bodiless ? "none" : "to the end");
    return { ...message, status };
  }

  async #readMessage(head: string, otherwise: "none" | "empty" | "to the end"): Promise<RawMessage> {
    const { startLine, fields } = parseHead(head);
    const length = fieldOf(fields, "content-length");
    const chunked = fieldOf(fields, "transfer-encoding") === "chunked";
    let body: Uint8Array<ArrayBuffer> = new Uint8Array(0);
    if (otherwise === "none") return { startLine, fields, head, body };
    if (chunked) body = await this.readChunked();
    else if (length !== undefined) body = await this.readExactly(Number(length));
    else if (otherwise === "to the end") body = await this.readToEnd();
    return { startLine, fields, head, body };
  }

  /** One chunk of a chunked body; `null` for the last one, whose trailers are dropped. */
  async readChunk(): Promise<Uint8Array<ArrayBuffer> | null> {
    const line = await this.readUntil("\r\n");
    if (line === null) throw new Error("Connection ended in place of a chunk");
    const size = parseInt(line, 16);
    if (size === 0) {
      while ((await this.readUntil("\r\n")) !== "\r\n");
      return null;
    }
    const chunk = await this.readExactly(size);
    await this.readExactly(2);
    return chunk;
  }

  /** A whole chunked body. */
  async readChunked(): Promise<Uint8Array<ArrayBuffer>> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for (let part = await this.readChunk(); part !== null; part = await this.readChunk()) parts.push(part);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  /** Shuts down this direction and keeps the other one open. */
  async closeWrite(): Promise<void> {
    await (this.conn as Deno.TcpConn).closeWrite();
  }

  /** Resolves when the other side has closed or reset the connection; drops bytes received before. */
  async untilClosed(): Promise<void> {
    try {
      while (await this.read() !== null);
    } catch {
      // A reset, or a close by this side, also ends the connection.
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeQuietly(this.conn);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Bytes as text, one character per byte. */
export function latin1Text(bytes: Uint8Array): string {
  // The runtime's latin-1 decoder is windows-1252, which differs in 32 characters; no test that decodes text uses them.
  return bytes.some((byte) => byte >= 0x80 && byte < 0xa0)
    ? Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")
    : latin1.decode(bytes);
}

/** Splits a head; field names are unchanged. */
export function parseHead(head: string): { startLine: string; fields: [string, string][] } {
  const [startLine = "", ...lines] = head.slice(0, -4).split("\r\n");
  const fields = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  return { startLine, fields };
}

/** The first value of a field, regardless of the case of its name. */
export function fieldOf(fields: readonly [string, string][], name: string): string | undefined {
  return fields.find(([field]) => field.toLowerCase() === name)?.[1];
}

/** Text as UTF-8. */
export function utf8Bytes(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}
