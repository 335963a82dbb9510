/** The sending half of a connection. */

import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import { ProxyError, RequestError, UpstreamError } from "../../core/errors.ts";
import type { Bytes, RequestBody } from "../../http/message.ts";
import { type BufferShelf, SMALL_BUFFER } from "../../http1/buffer_shelf.ts";
import { HeadWriter, UnwritableHeadError, writeChunk, writeLastChunk } from "../../http1/head_writer.ts";
import type { OutgoingRequest } from "../transport.ts";

/** The connection as its sending half sees it. */
export interface RequestSenderOwner {
  /** More of the request has left, or all of it: it is the server's turn. */
  requestLeft(): void;
  /** Content goes on, or its next piece is waited for. */
  uploadProgressed(): void;
  /** The request cannot be sent to its end, and not because of the socket. */
  requestFailed(error: ProxyError): void;
}

/** What a {@linkcode RequestSender} is made of. */
interface RequestSenderInit {
  readonly socket: Deno.Conn;
  readonly owner: RequestSenderOwner;
  readonly wheel: DeadlineWheel;
  readonly shelf: BufferShelf;
}

/** Writes one request after the other, and knows how much of the current one has left. */
export class RequestSender {
  readonly #init: RequestSenderInit;
  readonly #writer: HeadWriter;
  #upload: Upload | null = null;
  #writing: Bytes | null = null;
  #unwritten: Bytes | null = null;
  #begun = false;
  #sent = 0;

  constructor(init: RequestSenderInit) {
    this.#init = init;
    this.#writer = new HeadWriter(NOTHING);
  }

  /**
   * Begins to send.
   *
   * @throws {UpstreamError} `http_request_error` when it cannot be sent; then nothing of it was
   */
  send(request: OutgoingRequest): void {
    this.#sent = 0;
    this.#begun = false;
    const writer = this.#writer;
    const { shelf, owner } = this.#init;
    writer.begin(shelf.take(SMALL_BUFFER));
    writeHead(writer, request);
    const { body } = request;
    if (body !== null) {
      const { whole } = body;
      if (whole === null) return this.#startUpload(request, body);
      if (body.length === null) {
        if (whole.length > ONE_WRITE_BYTES) return this.#startUpload(request, body);
        if (whole.length > 0) writeChunk(writer, whole);
        writeLastChunk(writer, body.trailers);
      } else if (whole.length <= ONE_WRITE_BYTES) writer.copy(whole, 0, whole.length);
      else {
        writer.copy(whole, 0, ONE_WRITE_BYTES);
        this.#unwritten = whole.subarray(ONE_WRITE_BYTES);
      }
    }
    owner.requestLeft();
    this.#write(writer.bytes.subarray(0, writer.length));
  }

  /** Whether any of the request is known to have left. */
  get asked(): boolean {
    return this.#sent > 0 || (this.#upload !== null && this.#upload.written > 0);
  }

  /** Whether nothing of the request can have reached the server. */
  get unsent(): boolean {
    return !this.#begun && this.#upload?.begun !== true;
  }

  /** Whether some of the request is still to be sent. */
  get busy(): boolean {
    return this.#upload !== null || this.#writing !== null;
  }

  /** Whether the client's next piece is what the request waits for. */
  get waitsForClient(): boolean {
    return this.#upload?.waitingFor === "client";
  }

  /** Whether content waits for the server's word that it wants it. */
  get waitsForContinue(): boolean {
    return this.#upload?.waitingFor === "continue";
  }

  /** The server wants the content. */
  continue(): void {
    this.#upload?.continue();
  }

  /** Sends nothing more. */
  stop(): void {
    this.#writing = this.#unwritten = null;
    this.#upload?.stop();
    this.#upload = null;
  }

  #write(bytes: Bytes): void {
    this.#writing = bytes;
    this.#begun = true;
    this.#init.socket.write(bytes).then(this.#onWritten, this.#onWriteFailed);
  }

  readonly #onWritten = (count: number): void => {
    const bytes = this.#writing;
    if (bytes === null) return;
    this.#sent += count;
    const rest = count < bytes.length ? bytes.subarray(count) : this.#unwritten;
    if (count === bytes.length) this.#writing = this.#unwritten = null;
    if (rest === null) return this.#giveBuffer();
    this.#init.owner.requestLeft();
    this.#write(rest);
  };

  // The read decides what became of the exchange: the server may have responded before it closed.
  readonly #onWriteFailed = (): void => {
    if (this.#sent === 0) this.#begun = false;
  };

  // A buffer goes back only when no write uses it any more.
  #giveBuffer(): void {
    this.#init.shelf.give(this.#writer.bytes);
    this.#writer.begin(NOTHING);
  }

  #startUpload(request: OutgoingRequest, body: RequestBody): void {
    const { socket, wheel, owner } = this.#init;
    const upload = new Upload({
      socket,
      writer: this.#writer,
      body,
      wheel,
      expectsContinue: request.expectsContinue === true,
      onProgress: () => owner.uploadProgressed(),
    });
    this.#upload = upload;
    upload.run().then((complete) => {
      if (!complete || this.#upload !== upload) return;
      this.#upload = null;
      this.#begun = true;
      this.#sent = upload.written;
      this.#giveBuffer();
      owner.requestLeft();
    }, (error) => {
      // A failure of the socket is left to the read, as in #onWriteFailed.
      if (this.#upload === upload && error instanceof ProxyError) owner.requestFailed(error);
    });
  }
}

const NOTHING: Bytes = new Uint8Array(0);

function writeHead(writer: HeadWriter, request: OutgoingRequest): void {
  const { method, headers, body, targetBytes = null } = request;
  try {
    if (method === "CONNECT") throw new UnwritableHeadError("the method CONNECT, which makes a tunnel");
    if (targetBytes === null) writer.requestLine(method, request.target);
    else {
      const { lines: { bytes }, targetStart, targetEnd } = targetBytes;
      writer.requestLineOf(method, bytes, targetStart, targetEnd);
    }
    writer.fields(headers);
  } catch (error) {
    if (!(error instanceof UnwritableHeadError)) throw error;
    throw new UpstreamError(`Cannot send the request: it has ${error.message}`, {
      code: "http_request_error",
      phase: "unsent",
    });
  }
  if (body !== null) {
    // Framed as it came: a length that the client did not say would depend on how its bytes were cut.
    const { length } = body;
    if (length === null) writer.text("transfer-encoding: chunked\r\n");
    else writer.contentLength(length);
    if (request.expectsContinue === true && body.whole === null) writer.text("expect: 100-continue\r\n");
  } else if (method === "POST" || method === "PUT" || method === "PATCH") writer.contentLength(0);
  writer.end();
}

// Sends content of a request as it arrives.

/** How much content leaves in one write with what goes before it; copying it costs less than a second write. */
const ONE_WRITE_BYTES = 64 * 1024;
/** How long a head waits for the first piece of its content, to leave in one write with it. */
const HEAD_WAIT_MS = 20;
/** How long a server may leave open whether it wants the content (as curl does); older ones never say. */
const CONTINUE_WAIT_MS = 1000;

/** What an {@linkcode Upload} is made of. */
interface UploadInit {
  readonly socket: Deno.Conn;
  /** Holds the head, which is sent with the first piece of the content. */
  readonly writer: HeadWriter;
  readonly body: RequestBody;
  readonly wheel: DeadlineWheel;
  readonly expectsContinue: boolean;
  /** Called whenever something went out or is waited for. */
  readonly onProgress: () => void;
}

/** Sends head and content of one request whose content is not in memory. */
class Upload {
  /** Whether bytes were given to the socket. */
  begun = false;
  /** How many bytes the socket took. */
  written = 0;
  /** Who is waited for; a timeout is held against it. */
  waitingFor: "client" | "server" | "continue" = "client";
  readonly #init: UploadInit;
  readonly #chunked: boolean;
  readonly #headWait: Deadline;
  #left: number;
  #headSent: Promise<void> | null = null;
  #stopped = false;
  #wanted: (() => void) | null = null;

  constructor(init: UploadInit) {
    this.#init = init;
    const { length } = init.body;
    this.#chunked = length === null;
    this.#left = length ?? Infinity;
    this.#headWait = init.wheel.deadline(() => this.#waitedEnough());
  }

  /**
   * Sends everything.
   *
   * @returns whether it got to the end, which it does not when it is stopped
   * @throws {ProxyError} when the content could not be read; anything else is the socket's failure
   */
  async run(): Promise<boolean> {
    if (this.#init.expectsContinue) await this.#untilWanted();
    else this.#headWait.set(HEAD_WAIT_MS);
    while (!this.#stopped) {
      const piece = await this.#nextPiece();
      this.#headWait.clear();
      if (this.#stopped) break;
      await this.#send(piece);
      if (piece === null) return true;
    }
    return false;
  }

  async #untilWanted(): Promise<void> {
    await this.#sendHead();
    if (this.#stopped) return;
    this.waitingFor = "continue";
    this.#headWait.set(CONTINUE_WAIT_MS);
    this.#init.onProgress();
    await new Promise<void>((resolve) => this.#wanted = resolve);
    this.#headWait.clear();
  }

  /** The server wants the content. */
  continue(): void {
    this.#wanted?.();
    this.#wanted = null;
  }

  #waitedEnough(): void {
    if (this.waitingFor === "continue") this.continue();
    else this.#sendHead().catch(() => {});
  }

  /** Sends nothing more. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#headWait.clear();
    this.continue();
  }

  async #nextPiece(): Promise<Bytes | null> {
    this.waitingFor = "client";
    this.#init.onProgress();
    const piece = await this.#init.body.read();
    if (this.#chunked || this.#stopped) return piece;
    this.#left -= piece?.length ?? 0;
    if (this.#left < 0) throw new RequestError("The request body is longer than its content-length");
    if (piece === null && this.#left > 0) {
      throw new RequestError("The request body is shorter than its content-length");
    }
    return piece;
  }

  async #send(piece: Bytes | null): Promise<void> {
    this.waitingFor = "server";
    this.#init.onProgress();
    const { writer, body } = this.#init;
    if (this.#headSent !== null) await this.#headSent;
    if (piece !== null && piece.length > ONE_WRITE_BYTES) {
      if (this.#chunked) writer.text(piece.length.toString(16) + "\r\n");
      await this.#flush();
      await this.#write(piece);
      if (this.#chunked) writer.text("\r\n");
      return;
    }
    if (piece === null) {
      if (this.#chunked) writeLastChunk(writer, body.trailers);
    } else if (this.#chunked) writeChunk(writer, piece);
    else writer.copy(piece, 0, piece.length);
    await this.#flush();
  }

  #sendHead(): Promise<void> {
    return this.#headSent = this.#flush();
  }

  async #flush(): Promise<void> {
    const { bytes, length } = this.#init.writer;
    this.#init.writer.length = 0;
    if (length > 0) await this.#write(bytes.subarray(0, length));
  }

  // One write of a socket may take only some of the bytes.
  async #write(bytes: Bytes): Promise<void> {
    this.begun = true;
    for (let done = 0; done < bytes.length;) {
      try {
        const count = await this.#init.socket.write(done === 0 ? bytes : bytes.subarray(done));
        done += count;
        this.written += count;
      } catch (error) {
        if (this.written === 0) this.begun = false;
        throw error;
      }
      this.#init.onProgress();
    }
  }
}
