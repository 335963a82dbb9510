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
  async gather(length: number | null): Promise<Bytes | ReadableStream<Bytes>> {
    if (length === null || length > WHOLE_BYTES) return this.#stream();
    const whole = new Uint8Array(length);
    let filled = 0;
    const { promise: late, resolve } = Promise.withResolvers<"late">();
    using deadline = this.#options.wheel.deadline(() => resolve("late"));
    deadline.set(WHOLE_MS);
    for (;;) {
      this.#pending = this.#body.read();
      const piece = await Promise.race([this.#pending, late]);
      if (piece === "late") {
        this.#pending.catch(() => {});
        if (filled > 0) this.#first = whole.subarray(0, filled);
        return this.#stream();
      }
      this.#pending = null;
      if (piece === null) return whole.subarray(0, filled);
      whole.set(piece, filled);
      filled += piece.length;
    }
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
      this.#controller?.error(failure);
      this.#body.cancel(failure);
    }
    this.#options.ended(this.#bytes, failure);
  }
}
