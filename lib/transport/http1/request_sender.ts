/** The sending half of a connection. */

import type { DeadlineWheel } from "../../core/deadline_wheel.ts";
import { ProxyError, UpstreamError } from "../../core/errors.ts";
import type { Bytes, RequestBody } from "../../http/message.ts";
import { type BufferShelf, SMALL_BUFFER } from "../../http1/buffer_shelf.ts";
import { writeChunk, writeLastChunk } from "../../http1/chunks.ts";
import { HeadWriter, UnwritableHeadError } from "../../http1/head_writer.ts";
import type { OutgoingRequest } from "../transport.ts";
import { ONE_WRITE_BYTES, Upload } from "./upload.ts";

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
