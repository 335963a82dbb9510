/** Sends the content of a request on a stream, as it arrives and as the server accepts it. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { RequestError } from "../../core/errors.ts";
import type { Bytes, RequestBody } from "../../http/message.ts";
import type { Http2Stream } from "../../http2/stream.ts";

/** How long to wait for 100 (Continue) before the content is sent (as curl does); some servers never send it. */
const CONTINUE_WAIT_MS = 1000;

/** The owner of an upload. */
export interface UploadOwner {
  /** Content was written, or is awaited. */
  uploadProgressed(): void;
  /** All content was written to the connection. */
  uploadEnded(): void;
  /** The content could not be read, or cannot be sent. */
  uploadFailed(error: unknown): void;
}

/** Parts of an {@linkcode Upload}. */
interface UploadInit {
  readonly stream: Http2Stream;
  readonly body: RequestBody;
  readonly wheel: DeadlineWheel;
  readonly owner: UploadOwner;
  /** Whether the server must send 100 (Continue) first. */
  readonly expectsContinue: boolean;
}

/** Sends content that is not in memory, or too large to be written at once. */
export class Upload {
  /** The side that is awaited; a timeout counts as its fault. */
  waitingFor: "client" | "server" | "continue" = "client";
  readonly #init: UploadInit;
  #left: number;
  #stopped = false;
  #piece: Bytes = NOTHING;
  #at = 0;
  #room: PromiseWithResolvers<void> | null = null;
  #onContinue: (() => void) | null = null;

  constructor(init: UploadInit) {
    this.#init = init;
    this.#left = init.body.length ?? Infinity;
  }

  /** Sends everything, and calls the owner; after a stop the owner is not called. */
  async run(): Promise<void> {
    const { stream, body, owner, expectsContinue } = this.#init;
    try {
      if (expectsContinue) await this.#awaitContinue();
      while (!this.#stopped) {
        const piece = await this.#nextPiece();
        if (this.#stopped) return;
        if (piece === null) {
          stream.end(body.trailers);
          return owner.uploadEnded();
        }
        if (piece.length > 0) await this.#send(piece);
      }
    } catch (error) {
      if (!this.#stopped) owner.uploadFailed(error);
    }
  }

  async #awaitContinue(): Promise<void> {
    const { wheel, owner } = this.#init;
    this.waitingFor = "continue";
    owner.uploadProgressed();
    using wait: Deadline = wheel.deadline(() => this.continue());
    wait.set(CONTINUE_WAIT_MS);
    await new Promise<void>((resolve) => this.#onContinue = resolve);
  }

  /** The server has sent 100 (Continue), or is not awaited any longer. */
  continue(): void {
    this.#onContinue?.();
    this.#onContinue = null;
  }

  async #nextPiece(): Promise<Bytes | null> {
    this.waitingFor = "client";
    this.#init.owner.uploadProgressed();
    const piece = await this.#init.body.read();
    if (this.#left === Infinity || this.#stopped) return piece;
    this.#left -= piece?.length ?? 0;
    if (this.#left < 0) throw new RequestError("The request body is longer than its content-length");
    if (piece === null && this.#left > 0) {
      throw new RequestError("The request body is shorter than its content-length");
    }
    return piece;
  }

  async #send(piece: Bytes): Promise<void> {
    this.#piece = piece;
    this.#at = 0;
    this.#write();
    if (this.#at === piece.length) return;
    this.#room = Promise.withResolvers();
    this.waitingFor = "server";
    this.#init.owner.uploadProgressed();
    await this.#room.promise;
  }

  #write(): void {
    this.#at = this.#init.stream.write(this.#piece, this.#at, this.#piece.length, false);
  }

  /** Continues, since there is room. */
  onRoom(): void {
    const room = this.#room;
    if (room === null || this.#stopped) return;
    const before = this.#at;
    this.#write();
    if (this.#at > before) this.#init.owner.uploadProgressed();
    if (this.#at < this.#piece.length) return;
    this.#room = null;
    room.resolve();
  }

  /** Sends nothing more and does not call the owner. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.continue();
    this.#room?.resolve();
    this.#room = null;
  }
}

const NOTHING: Bytes = new Uint8Array(0);
