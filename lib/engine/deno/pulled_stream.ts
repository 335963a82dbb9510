/** Content that is pulled, as a stream that the runtime reads. */

import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import { ClientGoneError, ProxyError } from "../../core/errors.ts";
import type { Body, Bytes } from "../../http/message.ts";

/** Content of a known length up to this is worth a wait: as a stream it costs the runtime far more. */
const WHOLE_BYTES = 128 * 1024;
/** How long it is waited for; then what has come is handed over, and the rest as a stream. */
const WHOLE_MS = 50;

/** What a {@linkcode PulledStream} takes beside the content. */
export interface PulledStreamOptions {
  readonly wheel: DeadlineWheel;
  /** How long the client may take for a piece. */
  readonly idleMs: number;
  /** What a stream that breaks off waits for before the runtime learns of it. @default {nothing} */
  readonly beforeCut?: () => Promise<void> | null;
  /** Told of the end of a stream, and why it broke off; never of content that was gathered. */
  readonly ended: (bytes: number, failure: ProxyError | null) => void;
}

/** The source of one stream. */
export class PulledStream implements UnderlyingDefaultSource<Bytes> {
  readonly #body: Body;
  readonly #options: PulledStreamOptions;
  readonly #stalled: Deadline;
  #controller: ReadableStreamDefaultController<Bytes> | null = null;
  #first: Bytes | null = null;
  #pending: Promise<Bytes | null> | null = null;
  #bytes = 0;
  #over = false;

  constructor(body: Body, options: PulledStreamOptions) {
    this.#body = body;
    this.#options = options;
    this.#stalled = options.wheel.deadline(() =>
      this.#end(new ClientGoneError("The client took the response too slowly"))
    );
  }

  /**
   * Waits a moment for small content, to hand it over whole; gives a stream otherwise.
   *
   * @param length how long the content is; `null` for a stream in any case
   * @throws {ProxyError} why the content broke off, when that was before any of it was handed over
   */
  gather(length: number | null): Promise<Bytes | ReadableStream<Bytes>> {
    if (length === null || length > WHOLE_BYTES) return Promise.resolve(this.#stream());
    const { promise, resolve, reject } = Promise.withResolvers<Bytes | ReadableStream<Bytes>>();
    const whole = new Uint8Array(length);
    let filled = 0;
    let late = false;
    const patience = this.#options.wheel.deadline(() => {
      late = true;
      if (filled > 0) this.#first = whole.subarray(0, filled);
      resolve(this.#stream());
    });
    // What comes late is for the stream, which waits for the same read.
    const take = (piece: Bytes | null): void => {
      if (late) return;
      if (piece === null) {
        patience.clear();
        return resolve(whole.subarray(0, filled));
      }
      whole.set(piece, filled);
      filled += piece.length;
      read();
    };
    const fail = (error: unknown): void => {
      if (late) return;
      patience.clear();
      reject(error);
    };
    const read = (): void => {
      this.#pending = this.#body.read();
      this.#pending.then(take, fail);
    };
    patience.set(WHOLE_MS);
    read();
    return promise;
  }

  #stream(): ReadableStream<Bytes> {
    return new ReadableStream<Bytes>(this, { highWaterMark: 0 });
  }

  start(controller: ReadableStreamDefaultController<Bytes>): void {
    this.#controller = controller;
    this.#stalled.set(this.#options.idleMs);
  }

  async pull(controller: ReadableStreamDefaultController<Bytes>): Promise<void> {
    this.#stalled.clear();
    let piece = this.#first;
    this.#first = null;
    try {
      if (piece === null) {
        const pending = this.#pending ?? this.#body.read();
        this.#pending = null;
        // What is read is lent, and the runtime looks at it later.
        piece = (await pending)?.slice() ?? null;
      }
    } catch (error) {
      return this.#end(error instanceof ProxyError ? error : new ClientGoneError(String(error)));
    }
    if (this.#over) return;
    if (piece === null) return this.#end(null);
    this.#bytes += piece.length;
    controller.enqueue(piece);
    this.#stalled.set(this.#options.idleMs);
  }

  cancel(): void {
    this.#controller = null;
    this.#end(new ClientGoneError());
  }

  #end(failure: ProxyError | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#stalled.clear();
    if (failure === null) this.#controller?.close();
    else {
      const controller = this.#controller;
      const cut = (): void => controller?.error(failure);
      const before = controller === null ? null : this.#options.beforeCut?.() ?? null;
      if (before === null) cut();
      else void before.then(cut);
      this.#body.cancel(failure);
    }
    this.#options.ended(this.#bytes, failure);
  }
}
