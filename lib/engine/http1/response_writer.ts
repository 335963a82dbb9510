/** The sending half of a client's connection: one response after another. */

import { ClientGoneError, ProxyError } from "../../core/errors.ts";
import type { HeaderFields } from "../../http/header_fields.ts";
import { type Body, type Bytes, reasonPhrase, type ResponseHead, sendsContent } from "../../http/message.ts";
import {
  type BufferShelf,
  HeadWriter,
  LARGE_BUFFER,
  SMALL_BUFFER,
  writeChunk,
  writeLastChunk,
} from "../../http1/head_writer.ts";
import type { Socket } from "../engine.ts";

/** The connection of a response writer. */
export interface ResponseWriterOwner {
  /** A write has started; it may take as long as a client may stall. */
  writeBegun(): void;
  /** The write has ended. */
  writeEnded(): void;
  /** The client has closed, as a write of an interim response has shown. */
  clientLost(error: ClientGoneError): void;
  /** The response was written completely. */
  responseWritten(bytes: number): void;
  /** The response failed after some bytes of its content. */
  responseBroken(bytes: number, failure: ProxyError): void;
}

/** The framing of a response for its client. */
interface ResponseFraming {
  readonly method: string;
  /** Whether the client supports chunks and interim responses. */
  readonly http11: boolean;
  /** Whether the connection is closed after the response. */
  readonly close: boolean;
}

/** Writes responses; the head and the available content are sent in one write. */
export class ResponseWriter {
  readonly #socket: Socket;
  readonly #owner: ResponseWriterOwner;
  readonly #shelf: BufferShelf;
  readonly #writer = new HeadWriter(NOTHING);
  #writing: Bytes = NOTHING;
  #bytes = 0;
  #stopped = false;
  #interim: Promise<void> | null = null;

  constructor(socket: Socket, shelf: BufferShelf, owner: ResponseWriterOwner) {
    this.#socket = socket;
    this.#shelf = shelf;
    this.#owner = owner;
  }

  /**
   * Starts to write a response.
   *
   * @throws {UnwritableHeadError} when the head cannot be written; then nothing was written
   */
  write(head: ResponseHead, body: Body | null, framing: ResponseFraming): void {
    const writer = this.#writer;
    this.#bytes = 0;
    writer.begin(this.#shelf.take(fitsSmall(body) ? SMALL_BUFFER : LARGE_BUFFER));
    const chunked = writeHead(writer, head, body, framing);
    if (body === null || !sendsContent(framing.method, head.status)) return this.#writeLast();
    const { whole } = body;
    if (whole === null || chunked || whole.length > LARGE_BUFFER) return void this.#pump(body, chunked);
    writer.copy(whole, 0, whole.length);
    this.#bytes = whole.length;
    this.#writeLast();
  }

  /** Writes an interim response after earlier ones; the next write waits for it. */
  writeInterim(status: number, headers: HeaderFields): void {
    if (this.#stopped) return;
    const writer = new HeadWriter(new Uint8Array(256));
    writer.statusLine(status, reasonPhrase(status));
    writer.fields(headers);
    writer.end();
    const written = this.#writeAfter(this.#interim, writer.bytes.subarray(0, writer.length))
      .catch((error) => {
        if (!this.#stopped) this.#owner.clientLost(clientGone(error));
      })
      .finally(() => {
        if (this.#interim === written) this.#interim = null;
      });
    this.#interim = written;
  }

  // Two writes at once could mix their bytes when a socket accepts only some of them.
  async #writeAfter(before: Promise<void> | null, bytes: Bytes): Promise<void> {
    if (before !== null) await before;
    if (!this.#stopped) await this.#writeAll(bytes);
  }

  /** Writes the 101 after which the connection speaks another protocol (RFC 9110 section 7.8). */
  async writeSwitch({ status, statusText, headers }: ResponseHead, protocol: string): Promise<void> {
    const writer = new HeadWriter(new Uint8Array(1024));
    writer.statusLine(status, statusText);
    writer.fields(headers);
    writer.line("connection", "Upgrade");
    writer.line("upgrade", protocol);
    writer.end();
    if (this.#interim !== null) await this.#interim;
    await this.#writeAll(writer.bytes.subarray(0, writer.length));
  }

  // The end of the response: only the callbacks of one write are kept.
  #writeLast(): void {
    const { bytes, length } = this.#writer;
    this.#writing = bytes.subarray(0, length);
    this.#owner.writeBegun();
    if (this.#interim === null) this.#writeRest();
    else void this.#interim.then(() => this.#writeRest());
  }

  #writeRest(): void {
    const socket = this.#socket;
    if (socket.writeThen !== undefined) socket.writeThen(this.#writing, this.#onWritten, this.#onWriteFailed);
    else socket.write(this.#writing).then(this.#onWritten, this.#onWriteFailed);
  }

  readonly #onWritten = (count: number): void => {
    if (this.#stopped) return;
    if (count < this.#writing.length) {
      this.#writing = this.#writing.subarray(count);
      this.#owner.writeBegun();
      return this.#writeRest();
    }
    this.#done();
  };

  readonly #onWriteFailed = (error: unknown): void => {
    if (!this.#stopped) this.#owner.responseBroken(this.#bytes, clientGone(error));
  };

  #done(): void {
    this.#writing = NOTHING;
    this.#returnBuffer();
    this.#owner.writeEnded();
    this.#owner.responseWritten(this.#bytes);
  }

  /** Writes content as it arrives, at the pace of the slower side. */
  async #pump(body: Body, chunked: boolean): Promise<void> {
    const writer = this.#writer;
    try {
      // A head must not wait for content that is not yet there.
      if (body.ready === null) await this.#flush();
      for (;;) {
        const piece = await body.read();
        if (this.#stopped) return;
        if (piece === null) break;
        if (chunked) writeChunk(writer, piece);
        else if (writer.length > 0 && writer.length + piece.length <= LARGE_BUFFER) {
          writer.copy(piece, 0, piece.length);
        } else {
          await this.#flush();
          await this.#writeAll(piece);
        }
        await this.#flush();
        if (!chunked) this.#returnBuffer();
        this.#bytes += piece.length;
      }
      if (chunked) writeLastChunk(writer, body.trailers);
      await this.#flush();
      if (!this.#stopped) this.#done();
    } catch (error) {
      if (!this.#stopped) {
        this.#owner.responseBroken(this.#bytes, error instanceof ProxyError ? error : clientGone(error));
      }
    }
  }

  async #flush(): Promise<void> {
    const { bytes, length } = this.#writer;
    if (length === 0) return;
    if (this.#interim !== null) await this.#interim;
    await this.#writeAll(bytes.subarray(0, length));
    this.#writer.length = 0;
  }

  // Later content is written from its own buffer, which may take long.
  #returnBuffer(): void {
    this.#shelf.give(this.#writer.bytes);
    this.#writer.begin(NOTHING);
  }

  // One write of a socket may accept only some of the bytes.
  async #writeAll(bytes: Bytes): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      this.#owner.writeBegun();
      done += await this.#socket.write(done === 0 ? bytes : bytes.subarray(done));
      this.#owner.writeEnded();
    }
  }

  /** How many bytes of the response's content were passed to the system. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Writes nothing more and does not call the owner. */
  stop(): void {
    this.#stopped = true;
  }
}

/** Most heads are shorter. */
const ROOM_FOR_HEAD = 2048;
const NOTHING: Bytes = new Uint8Array(0);

/** Whether a small buffer holds a usual head and the available content; a buffer that must grow is lost for the shelf. */
function fitsSmall(body: Body | null): boolean {
  return body === null || body.ready === null || body.ready.length <= SMALL_BUFFER - ROOM_FOR_HEAD;
}

/** Writes the head with its framing; returns whether the content is chunked. */
function writeHead(
  writer: HeadWriter,
  { status, statusText, headers }: ResponseHead,
  body: Body | null,
  { method, http11, close }: ResponseFraming,
): boolean {
  writer.statusLine(status, statusText);
  // The length that a GET would have (RFC 9110 section 8.6) is forwarded as the server sent it.
  const describes = method === "HEAD" || status === 304;
  writer.fields(headers, describes);
  let chunked = false;
  let untilClose = false;
  if (!describes && status !== 204) {
    // A 205 ends without content (RFC 9110 section 15.3.6).
    const length = body === null || status === 205 ? 0 : lengthOf(body);
    if (length !== null) writer.contentLength(length);
    else if (http11) {
      writer.text("transfer-encoding: chunked\r\n");
      chunked = true;
    } else untilClose = true;
  }
  if (close || untilClose) writer.text("connection: close\r\n");
  else if (!http11) writer.text("connection: keep-alive\r\n");
  writer.end();
  return chunked;
}

/** Length of the content, if known; content with trailers is chunked, because they would be lost otherwise. */
function lengthOf({ length, whole, trailers }: Body): number | null {
  return length ?? (whole === null || trailers.length > 0 ? null : whole.length);
}

function clientGone(cause: unknown): ClientGoneError {
  return new ClientGoneError(
    `The client closed the connection: ${cause instanceof Error ? cause.message : cause}`,
  );
}
