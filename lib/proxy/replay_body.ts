/** The content of a client's request, kept as long as it may have to be sent again. */

import type { Deadline, DeadlineWheel } from "../core/deadline_wheel.ts";
import { ClientGoneError, type ProxyError, RequestError } from "../core/errors.ts";
import type { RequestBody } from "../transport/transport.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Where content comes from, piece by piece; a stream is one. */
export interface ContentSource {
  getReader(): ContentReader;
  cancel(): Promise<void>;
}

/** Reads the pieces of a {@linkcode ContentSource}. */
export interface ContentReader {
  read(): Promise<{ done: false; value: Bytes } | { done: true; value?: Bytes }>;
  cancel(): Promise<void>;
}

/** What a {@linkcode ReplayBody} takes beside the stream. */
export interface ReplayBodyOptions {
  /** Declared length; `null` when the client did not say. */
  readonly length: number | null;
  readonly wheel: DeadlineWheel;
  /** How long the client may pause between two pieces. */
  readonly idleMs: number;
  /**
   * How much is kept for a second attempt. `fetch` takes up to this much before it is connected (measured: 64 KiB and
   * one piece), and what a server that refuses the connection has not got must still be there for the next one.
   *
   * @default {131072}
   */
  readonly maxReplayBytes?: number;
  /** Called when all of the client's content has been read. */
  readonly onEnd?: () => void;
  /** Says why the content could not be read, or, asked without a cause, why its end is none. @default {contentError} */
  readonly explain?: (cause: unknown) => ProxyError | null;
}

/**
 * Reads the client's content once and gives it to each attempt from the beginning, as long as that fits in memory.
 *
 * Content that was let go cannot be sent again: {@linkcode replayable} says so, and no retry is made then.
 */
export class ReplayBody implements RequestBody, Disposable {
  readonly length: number | null;
  readonly bytes: null = null;
  readonly #source: ContentSource;
  readonly #deadline: Deadline;
  readonly #idleMs: number;
  readonly #maxReplayBytes: number;
  readonly #onEnd: (() => void) | undefined;
  readonly #explain: (cause: unknown) => ProxyError | null;
  #reader: ContentReader | null = null;
  #kept: Bytes[] = [];
  #keptBytes = 0;
  #replayable = true;
  #pending: Promise<Bytes | null> | null = null;
  #ended = false;
  #disposed = false;
  #generation = 0;
  /** Why the client's content could not be read; `null` as long as it could. */
  failure: ProxyError | null = null;

  constructor(source: ContentSource, options: ReplayBodyOptions) {
    const { length, wheel, idleMs, maxReplayBytes = 131072, onEnd, explain = explainContent } = options;
    this.#source = source;
    this.length = length;
    this.#idleMs = idleMs;
    this.#maxReplayBytes = maxReplayBytes;
    this.#onEnd = onEnd;
    this.#explain = explain;
    this.#deadline = wheel.deadline(() => this.#tooSlow());
  }

  /** Whether nothing more will be read from the client. */
  get ended(): boolean {
    return this.#ended || this.failure !== null || this.#disposed;
  }

  /** Whether {@linkcode open} still gives the whole content. */
  get replayable(): boolean {
    return this.#replayable && this.failure === null;
  }

  /** The content from its beginning; streams given out before end at once. */
  open(): ReadableStream<Bytes> {
    if (!this.replayable) throw new Error("Cannot open a request body a second time: its beginning is gone");
    const generation = ++this.#generation;
    let position = 0;
    // Nothing is read ahead: what an attempt has not asked for need not be kept for the next one.
    return new ReadableStream<Bytes>({
      pull: async (controller) => {
        if (generation !== this.#generation) return controller.close();
        if (!this.#replayable && position >= this.#kept.length) this.#kept = [];
        const chunk = position < this.#kept.length ? this.#kept[position]! : await this.#read();
        if (generation !== this.#generation) return controller.close();
        position++;
        if (chunk === null) controller.close();
        else controller.enqueue(chunk);
      },
    }, { highWaterMark: 0 });
  }

  #read(): Promise<Bytes | null> {
    // An attempt that failed may have left a read behind; its piece belongs to the next attempt.
    this.#pending ??= this.#readNext().finally(() => this.#pending = null);
    return this.#pending;
  }

  async #readNext(): Promise<Bytes | null> {
    if (this.failure !== null) throw this.failure;
    if (this.#ended) return null;
    this.#reader ??= this.#source.getReader();
    this.#deadline.set(this.#idleMs);
    let result: Awaited<ReturnType<ContentReader["read"]>>;
    try {
      result = await this.#reader.read();
    } catch (cause) {
      throw this.#fail(this.#explain(cause) ?? contentError(cause));
    } finally {
      this.#deadline.clear();
    }
    // The timeout cancels the read, which then looks like an end.
    if (this.failure !== null) throw this.failure;
    if (result.done) {
      const failure = this.#explain(undefined);
      if (failure !== null) throw this.#fail(failure);
      this.#ended = true;
      this.#onEnd?.();
      return null;
    }
    this.#keep(result.value);
    return result.value;
  }

  #keep(chunk: Bytes): void {
    if (!this.#replayable) return;
    // The piece that is too much is kept as well: the attempt that runs may not have come to it yet.
    this.#kept.push(chunk);
    this.#keptBytes += chunk.byteLength;
    if (this.#keptBytes > this.#maxReplayBytes) this.#replayable = false;
  }

  #fail(error: ProxyError): ProxyError {
    this.failure ??= error;
    return this.failure;
  }

  #tooSlow(): void {
    this.#fail(new RequestError("The client sent its content too slowly", 408));
    this.#reader?.cancel().catch(() => {});
  }

  /** Lets go of the client's content; what has not been read is not wanted. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#generation++;
    this.#replayable = false;
    this.#kept = [];
    this.#deadline.clear();
    if (this.#ended || this.failure !== null) return;
    const cancelled = this.#reader === null ? this.#source.cancel() : this.#reader.cancel();
    cancelled.catch(() => {});
  }
}

function explainContent(cause: unknown): ProxyError | null {
  return cause === undefined ? null : contentError(cause);
}

/**
 * Why a client's content could not be read: what is wrong with it, or that the client has gone.
 *
 * The runtime's parser has only words to say so (Deno 2.9.6).
 */
export function contentError(cause: unknown): ProxyError {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (text.startsWith("invalid HTTP/1 request")) {
    return new RequestError("The chunks of the content are malformed");
  }
  if (text === "request head too large") {
    return new RequestError("The trailer section is longer than 64 KiB", 431);
  }
  return new ClientGoneError(`The client's content broke off: ${text}`);
}
