/** A request body that is not in memory, on its way to the server. */

import { ProxyError, RequestError } from "../../core/errors.ts";
import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import type { RequestBody } from "../transport.ts";
import type { HeadWriter } from "./head_writer.ts";

/** How long a head waits for the first piece of its body, to leave in one write with it. */
const HEAD_WAIT_MS = 20;
/** Pieces up to this size are copied behind what goes before them, rather than written by themselves. */
const COPY_BYTES = 64 * 1024;

type Bytes = Uint8Array<ArrayBuffer>;

/** What an {@linkcode Upload} is made of. */
export interface UploadInit {
  readonly socket: Deno.Conn;
  /** Holds the head, which is sent with the body's first piece. */
  readonly head: HeadWriter;
  readonly body: RequestBody;
  readonly wheel: DeadlineWheel;
  /** Called whenever something went out or is waited for. */
  readonly onProgress: () => void;
}

/** Sends the head and the body of one request. */
export class Upload {
  /** Whether bytes were given to the socket. */
  begun = false;
  /** Whether a piece of the body was taken from its source. */
  tookContent = false;
  /** How many bytes the socket took. */
  written = 0;
  /** Whose turn it is, which is whose fault it is when nothing happens. */
  waitingFor: "client" | "server" = "client";
  readonly #init: UploadInit;
  readonly #reader: ReadableStreamDefaultReader<Bytes>;
  readonly #chunked: boolean;
  readonly #headWait: Deadline;
  #left: number;
  #headSent: Promise<void> | null = null;
  #stopped = false;

  constructor(init: UploadInit) {
    this.#init = init;
    const { length } = init.body;
    this.#chunked = length === null;
    this.#left = length ?? Infinity;
    this.#reader = init.body.open().getReader();
    this.#headWait = init.wheel.deadline(() => this.#sendHead().catch(() => {}));
  }

  /**
   * Sends everything.
   *
   * @returns whether it got to the end, which it does not when it is stopped
   * @throws {ProxyError} when the body's source failed; anything else is the socket's failure
   */
  async run(): Promise<boolean> {
    this.#headWait.set(HEAD_WAIT_MS);
    while (!this.#stopped) {
      const piece = await this.#nextPiece();
      this.#headWait.clear();
      if (this.#stopped) break;
      await this.#send(piece);
      if (piece === null) return true;
    }
    return false;
  }

  /** Sends nothing more, and tells the body's source so. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#headWait.clear();
    // A source that nothing was taken from can still be read, on another connection.
    if (this.begun || this.tookContent) this.#reader.cancel().catch(() => {});
    else this.#reader.releaseLock();
  }

  async #nextPiece(): Promise<Bytes | null> {
    this.waitingFor = "client";
    this.#init.onProgress();
    try {
      const { value = null } = await this.#reader.read();
      this.tookContent = true;
      this.#count(value);
      return value;
    } catch (error) {
      if (this.#stopped) return null;
      throw error instanceof ProxyError ? error : sourceError(error);
    }
  }

  #count(piece: Bytes | null): void {
    if (this.#chunked || this.#stopped) return;
    this.#left -= piece?.length ?? 0;
    if (this.#left < 0) throw new RequestError("The request body is longer than its content-length");
    if (piece === null && this.#left > 0) {
      throw new RequestError("The request body is shorter than its content-length");
    }
  }

  async #send(piece: Bytes | null): Promise<void> {
    this.waitingFor = "server";
    this.#init.onProgress();
    const { head } = this.#init;
    if (this.#headSent !== null) await this.#headSent;
    // An empty chunk would be the last one.
    if (piece !== null && piece.length === 0) return;
    if (piece !== null && piece.length > COPY_BYTES) {
      if (this.#chunked) head.appendText(piece.length.toString(16) + "\r\n");
      await this.#flush();
      await this.#write(piece);
      if (this.#chunked) head.appendText("\r\n");
      return;
    }
    if (piece === null) {
      if (this.#chunked) head.appendText("0\r\n\r\n");
    } else if (this.#chunked) {
      head.appendText(piece.length.toString(16) + "\r\n");
      head.append(piece);
      head.appendText("\r\n");
    } else head.append(piece);
    await this.#flush();
  }

  #sendHead(): Promise<void> {
    return this.#headSent = this.#flush();
  }

  async #flush(): Promise<void> {
    const { head } = this.#init;
    const { bytes, length } = head;
    head.length = 0;
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

function sourceError(cause: unknown): ProxyError {
  return new ProxyError("Cannot read the request body", {
    code: "http_request_error",
    status: 400,
    source: "client",
    cause,
  });
}
