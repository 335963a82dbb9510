/** The sending half of a connection: one request after the other. */

import type { DeadlineWheel } from "../../core/deadline_wheel.ts";
import { ProxyError } from "../../core/errors.ts";
import type { OutgoingRequest, RequestBody } from "../transport.ts";
import { HeadWriter } from "./head_writer.ts";
import { Upload } from "./upload.ts";

/** How much of a request body in memory leaves in one write with its head. */
const ONE_WRITE_BYTES = 64 * 1024;

type Bytes = Uint8Array<ArrayBuffer>;

/** The connection as its sending half sees it. */
export interface RequestSenderOwner {
  /** More of the request has left, or all of it: it is the server's turn. */
  requestLeft(): void;
  /** A body that streams goes on, or its next piece is waited for. */
  uploadProgressed(): void;
  /** The request cannot be sent to its end, and not because of the socket. */
  requestFailed(error: ProxyError): void;
}

/** What a {@linkcode RequestSender} is made of. */
export interface RequestSenderInit {
  readonly socket: Deno.Conn;
  readonly owner: RequestSenderOwner;
  readonly wheel: DeadlineWheel;
}

/** Writes requests, and knows how much of the one that is on its way has left. */
export class RequestSender {
  readonly #socket: Deno.Conn;
  readonly #owner: RequestSenderOwner;
  readonly #wheel: DeadlineWheel;
  readonly #writer = new HeadWriter();
  #upload: Upload | null = null;
  #writing: Bytes | null = null;
  #unwritten: Bytes | null = null;
  #begun = false;
  #sent = 0;

  constructor({ socket, owner, wheel }: RequestSenderInit) {
    this.#socket = socket;
    this.#owner = owner;
    this.#wheel = wheel;
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
    writer.write(request);
    const { body } = request;
    if (body !== null) {
      const { bytes } = body;
      if (bytes === null) return this.#startUpload(body);
      writer.append(bytes.length > ONE_WRITE_BYTES ? bytes.subarray(0, ONE_WRITE_BYTES) : bytes);
      if (bytes.length > ONE_WRITE_BYTES) this.#unwritten = bytes.subarray(ONE_WRITE_BYTES);
    }
    this.#owner.requestLeft();
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

  /** Whether nothing was sent, and nothing of the request's body was taken that could not be read again. */
  get untouched(): boolean {
    return this.unsent && this.#upload?.tookContent !== true;
  }

  /** Whether some of the request is still to be sent. */
  get busy(): boolean {
    return this.#upload !== null || this.#writing !== null;
  }

  /** Whether the client's next piece is what the request waits for. */
  get waitsForClient(): boolean {
    return this.#upload?.waitingFor === "client";
  }

  /** Sends nothing more. */
  stop(): void {
    this.#writing = this.#unwritten = null;
    this.#upload?.stop();
    this.#upload = null;
  }

  /** Gives up what a large request has left behind. */
  trim(): void {
    this.#writer.trim();
  }

  #write(bytes: Bytes): void {
    this.#writing = bytes;
    this.#begun = true;
    this.#socket.write(bytes).then(this.#onWritten, this.#onWriteFailed);
  }

  readonly #onWritten = (count: number): void => {
    const bytes = this.#writing;
    if (bytes === null) return;
    this.#sent += count;
    const rest = count < bytes.length ? bytes.subarray(count) : this.#unwritten;
    if (count === bytes.length) this.#writing = this.#unwritten = null;
    if (rest === null) return;
    this.#owner.requestLeft();
    this.#write(rest);
  };

  // The read tells what became of the exchange: the server may have answered before it closed.
  readonly #onWriteFailed = (): void => {
    if (this.#sent === 0) this.#begun = false;
  };

  #startUpload(body: RequestBody): void {
    const upload = new Upload({
      socket: this.#socket,
      head: this.#writer,
      body,
      wheel: this.#wheel,
      onProgress: () => this.#owner.uploadProgressed(),
    });
    this.#upload = upload;
    upload.run().then((complete) => {
      if (!complete || this.#upload !== upload) return;
      this.#upload = null;
      this.#begun = true;
      this.#sent = upload.written;
      this.#owner.requestLeft();
    }, (error) => {
      // A failure of the socket is left to the read, as in #onWriteFailed.
      if (this.#upload === upload && error instanceof ProxyError) this.#owner.requestFailed(error);
    });
  }
}
