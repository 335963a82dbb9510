/** Sends the content of a request on a stream, as it arrives and as the server takes it. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { RequestError } from "../../core/errors.ts";
import type { Bytes, RequestBody } from "../../http/message.ts";
import type { Http2Stream } from "../../http2/stream.ts";

/** How long a server may leave open whether it wants the content (as curl does); some never say. */
const CONTINUE_WAIT_MS = 1000;

/** Whoever sends a request. */
export interface UploadOwner {
  /** Something went out, or is waited for. */
  uploadProgressed(): void;
  /** All of it was written to the connection. */
  uploadEnded(): void;
  /** It could not be read, or cannot be sent. */
  uploadFailed(error: unknown): void;
}

/** What an {@linkcode Upload} is made of. */
interface UploadInit {
  readonly stream: Http2Stream;
  readonly body: RequestBody;
  readonly wheel: DeadlineWheel;
  readonly owner: UploadOwner;
  /** Whether the server is to say first that it wants the content. */
  readonly expectsContinue: boolean;
}

/** Sends content that is not in memory, or that there is no room for at once. */
export class Upload {
  /** Who is waited for; a timeout is held against it. */
  waitingFor: "client" | "server" | "continue" = "client";
  readonly #init: UploadInit;
  #left: number;
  #stopped = false;
  #piece: Bytes = NOTHING;
  #at = 0;
  #room: PromiseWithResolvers<void> | null = null;
  #wanted: (() => void) | null = null;

  constructor(init: UploadInit) {
    this.#init = init;
    this.#left = init.body.length ?? Infinity;
  }

  /** Sends everything, and tells the owner; stops for good when it is stopped. */
  async run(): Promise<void> {
    const { stream, body, owner, expectsContinue } = this.#init;
    try {
      if (expectsContinue) await this.#untilWanted();
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

  async #untilWanted(): Promise<void> {
    const { wheel, owner } = this.#init;
    this.waitingFor = "continue";
    owner.uploadProgressed();
    using wait: Deadline = wheel.deadline(() => this.continue());
    wait.set(CONTINUE_WAIT_MS);
    await new Promise<void>((resolve) => this.#wanted = resolve);
  }

  /** The server wants the content. */
  continue(): void {
    this.#wanted?.();
    this.#wanted = null;
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

  /** Goes on: there is room. */
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

  /** Sends nothing more and tells nobody. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.continue();
    this.#room?.resolve();
    this.#room = null;
  }
}

const NOTHING: Bytes = new Uint8Array(0);
