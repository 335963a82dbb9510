/** Sends the content of a request as it arrives. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { RequestError } from "../../core/errors.ts";
import type { Bytes, RequestBody } from "../../http/message.ts";
import { type HeadWriter, writeChunk, writeLastChunk } from "../../http1/head_writer.ts";

/** Most content that is sent in one write with the bytes before it; copying it costs less than a second write. */
export const ONE_WRITE_BYTES = 64 * 1024;
/** How long a head waits for the first piece of its content, to be sent in one write with it. */
const HEAD_WAIT_MS = 20;
/** How long to wait for 100 (Continue) before the content is sent (as curl does); old servers never send it. */
const CONTINUE_WAIT_MS = 1000;

/** Parts of an {@linkcode Upload}. */
interface UploadInit {
  readonly socket: Deno.Conn;
  /** Holds the head, which is sent with the first piece of the content. */
  readonly writer: HeadWriter;
  readonly body: RequestBody;
  readonly wheel: DeadlineWheel;
  readonly expectsContinue: boolean;
  /** Called after each write and before each wait. */
  readonly onProgress: () => void;
}

/** Sends the head and the content of one request whose content is not in memory. */
export class Upload {
  /** Whether bytes were passed to the socket. */
  begun = false;
  /** How many bytes the socket has accepted. */
  written = 0;
  /** The side that is awaited; a timeout counts as its fault. */
  waitingFor: "client" | "server" | "continue" = "client";
  readonly #init: UploadInit;
  readonly #chunked: boolean;
  readonly #headWait: Deadline;
  #left: number;
  #headSent: Promise<void> | null = null;
  #stopped = false;
  #onContinue: (() => void) | null = null;

  constructor(init: UploadInit) {
    this.#init = init;
    const { length } = init.body;
    this.#chunked = length === null;
    this.#left = length ?? Infinity;
    this.#headWait = init.wheel.deadline(() => this.#waitExpired());
  }

  /**
   * Sends everything.
   *
   * @returns whether everything was sent; `false` when it was stopped
   * @throws {ProxyError} when the content could not be read; any other error is a failure of the socket
   */
  async run(): Promise<boolean> {
    if (this.#init.expectsContinue) await this.#awaitContinue();
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

  async #awaitContinue(): Promise<void> {
    await this.#sendHead();
    if (this.#stopped) return;
    this.waitingFor = "continue";
    this.#headWait.set(CONTINUE_WAIT_MS);
    this.#init.onProgress();
    await new Promise<void>((resolve) => this.#onContinue = resolve);
    this.#headWait.clear();
  }

  /** The server has sent 100 (Continue), or is not awaited any longer. */
  continue(): void {
    this.#onContinue?.();
    this.#onContinue = null;
  }

  #waitExpired(): void {
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

  // One write of a socket may accept only some of the bytes.
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
