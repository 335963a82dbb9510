/** Sends content of a request as it arrives. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { RequestError } from "../../core/errors.ts";
import type { Bytes, RequestBody } from "../../http/message.ts";
import { type HeadWriter, writeChunk, writeLastChunk } from "../../http1/head_writer.ts";

/** How much content leaves in one write with what goes before it; copying it costs less than a second write. */
export const ONE_WRITE_BYTES = 64 * 1024;
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
export class Upload {
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
