/** The content of a request of `Deno.serve`. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { ClientGoneError, ProxyError, RequestError } from "../../core/errors.ts";
import type { Body, Bytes } from "../../http/message.ts";

/**
 * Most bytes of one read. The runtime only notices that a trailer section of chunked content is too long if a read
 * allows more than 64 KiB; with reads of 64 KiB it reads forever (Deno 2.9.6).
 */
const READ_BYTES = 66 * 1024;

/** How long the end of a streamed response waits for a read of the request's content. */
const PENDING_READ_MS = 250;

/** How many buffers are kept for reuse. */
const MAX_KEPT = 32;

/**
 * Buffers for content. Without reuse, each request with content leaves 64 KiB to the garbage collector, which runs
 * late: it does not account for this memory.
 */
export class ContentBuffers {
  readonly #free: Bytes[] = [];

  take(): Bytes {
    return this.#free.pop() ?? new Uint8Array(READ_BYTES);
  }

  give(buffer: Bytes): void {
    if (buffer.length === READ_BYTES && this.#free.length < MAX_KEPT) this.#free.push(buffer);
  }
}

/** Options of a {@linkcode DenoContent}. */
interface DenoContentOptions {
  /** Declared length; `null` without one. */
  readonly length: number | null;
  readonly wheel: DeadlineWheel;
  /** How long the client may pause between two pieces. */
  readonly idleMs: number;
  readonly buffers: ContentBuffers;
  /** Called when all content was read. */
  readonly onEnd: () => void;
}

/** Content that is read on demand. */
export class DenoContent implements Body {
  readonly length: number | null;
  readonly trailers: readonly string[] = [];
  readonly #request: Request;
  readonly #options: DenoContentOptions;
  readonly #deadline: Deadline;
  #reader: ContentReader | null = null;
  /** The pending read of the runtime. */
  #pending: Promise<Bytes | null> | null = null;
  /** How many bytes were received. */
  received = 0;
  /** Whether all bytes were received, and whether the runtime has reported the end. */
  #ended: boolean;
  #finished: boolean;
  #cancelled = false;
  #released = false;
  #failure: ProxyError | null = null;
  #fail: ((error: ProxyError) => void) | null = null;

  constructor(request: Request, options: DenoContentOptions) {
    this.#request = request;
    this.#options = options;
    this.length = options.length;
    this.#ended = this.#finished = options.length === 0;
    this.#deadline = options.wheel.deadline(() => this.#tooSlow());
  }

  /** Whether nothing more is read from the client. */
  get ended(): boolean {
    return this.#ended || this.#cancelled || this.#failure !== null;
  }

  get ready(): Bytes | null {
    return this.whole;
  }

  get whole(): Bytes | null {
    return this.length === 0 ? NOTHING : null;
  }

  async read(): Promise<Bytes | null> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#finished || this.#cancelled) return this.#over();
    const { promise: late, reject } = Promise.withResolvers<never>();
    this.#fail = reject;
    this.#deadline.set(this.#options.idleMs);
    try {
      this.#reader ??= this.#open();
      this.#pending = this.#reader.read();
      const piece = await Promise.race([this.#pending, late]);
      this.#pending = null;
      this.#count(piece);
      return piece ?? this.#over();
    } catch (cause) {
      if (!this.#ended) throw this.#failure ??= contentError(cause);
      // All bytes were received. A server that is shutting down, which is possible from then on, may fail even the
      // end.
      this.#finished = true;
      this.#failure = null;
      return null;
    } finally {
      this.#fail = null;
      this.#deadline.clear();
    }
  }

  /** Frees the buffer of the last piece, which is no longer lent. */
  #over(): null {
    this.#reader?.free();
    return null;
  }

  #count(piece: Bytes | null): void {
    if (piece === null) this.#finished = true;
    else this.received += piece.length;
    if (this.#ended || (piece !== null && this.received !== this.length)) return;
    if (this.#released) throw new ClientGoneError("The response has ended before the content");
    if (this.length !== null && this.received !== this.length) {
      throw new ClientGoneError(`The client sent ${this.received} of ${this.length} bytes`);
    }
    this.#ended = true;
    this.#options.onEnd();
  }

  #open(): ContentReader {
    const stream = this.#request.body!;
    try {
      return new BufferedReader(stream.getReader({ mode: "byob" }), this.#options.buffers);
    } catch {
      // Content that was received completely with the head is no byte stream.
    }
    const reader = stream.getReader();
    return {
      read: async () => (await reader.read()).value ?? null,
      cancel: () => reader.cancel(),
      free() {},
    };
  }

  #tooSlow(): void {
    this.#failure ??= new RequestError("The client sent its content too slowly", 408);
    this.#fail?.(this.#failure);
  }

  cancel(): void {
    if (this.#finished || this.#cancelled || this.#failure !== null) return;
    this.#cancelled = true;
    this.#deadline.clear();
  }

  /**
   * Releases the unread content. Must be called before a response that is passed on whole. Unread content stays with
   * the runtime, which then announces the end of the connection.
   *
   * A pending read must end by itself, with bytes of the client or when it closes: a cancelled read would never end,
   * and keep its buffer (Deno 2.9.6).
   */
  release(): void {
    void this.#release();
  }

  /**
   * The same before the end of a streamed response: if a read is pending then, the runtime keeps the connection
   * forever (Deno 2.9.6). A read that does not end soon is cancelled, unless the response is cut off: then that would
   * keep the connection too.
   *
   * @returns a promise that resolves when the response may end; `null` when it may end now
   */
  releaseBeforeEnd(cut: boolean): Promise<void> | null {
    const released = this.#release();
    if (released === null || cut) return released;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const patience = this.#options.wheel.deadline(() => {
      this.#cancelReader();
      resolve();
    });
    patience.set(PENDING_READ_MS);
    return Promise.race([released.then(() => patience.clear()), late]);
  }

  #release(): Promise<void> | null {
    this.cancel();
    if (this.#finished || this.#released) return null;
    this.#released = true;
    const pending = this.#pending;
    if (pending === null) {
      this.#cancelReader();
      return null;
    }
    // A pending reader must not take the received part for the whole content.
    this.#fail?.(new ClientGoneError("The response has ended before the content"));
    const cancel = (): void => this.#cancelReader();
    return pending.then(cancel, cancel);
  }

  #cancelReader(): void {
    this.#reader?.cancel().catch(() => {});
  }
}

const NOTHING: Bytes = new Uint8Array(0);

interface ContentReader {
  read(): Promise<Bytes | null>;
  cancel(): Promise<void>;
  /** The last piece is no longer lent. */
  free(): void;
}

/** Reads into one buffer after another; the pieces are lent. */
class BufferedReader implements ContentReader {
  readonly #reader: ReadableStreamBYOBReader;
  readonly #buffers: ContentBuffers;
  /** `null` while the runtime owns it. */
  #buffer: Bytes | null = null;

  constructor(reader: ReadableStreamBYOBReader, buffers: ContentBuffers) {
    this.#reader = reader;
    this.#buffers = buffers;
  }

  async read(): Promise<Bytes | null> {
    const buffer = this.#buffer ?? this.#buffers.take();
    this.#buffer = null;
    const { value, done } = await this.#reader.read(buffer);
    // The buffer of a cancelled read is not returned.
    if (value !== undefined) this.#buffer = new Uint8Array(value.buffer as ArrayBuffer);
    return done ? null : value as Bytes;
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }

  free(): void {
    if (this.#buffer !== null) this.#buffers.give(this.#buffer);
    this.#buffer = null;
  }
}

/**
 * Why a client's content could not be read: it is malformed, or the client has closed.
 *
 * Errors of the runtime's parser have only a text (Deno 2.9.6).
 */
function contentError(cause: unknown): ProxyError {
  if (cause instanceof ClientGoneError || cause instanceof RequestError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  if (text.startsWith("invalid HTTP/1 request")) {
    return new RequestError("The chunks of the content are malformed");
  }
  if (text === "request head too large") {
    return new RequestError("The trailer section is longer than 64 KiB", 431);
  }
  return new ClientGoneError(`The client's content broke off: ${text}`);
}

// Content that is pulled, as a stream for the runtime.

/** Content of a known length up to this is gathered: as a stream it costs the runtime far more. */
const MEMORY_BYTES = 128 * 1024;
/** How long to gather; then the received part is passed on, and the rest as a stream. */
const WHOLE_MS = 50;

/** Options of a {@linkcode PulledStream}. */
interface PulledStreamOptions {
  readonly wheel: DeadlineWheel;
  /** How long the client may take for a piece. */
  readonly idleMs: number;
  /** Called before a stream ends or fails; the end waits for the returned promise. @default {nothing} */
  readonly beforeEnd?: (cut: boolean) => Promise<void> | null;
  /** Called at the end of a stream, with the failure if there was one; never for gathered content. */
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
   * Waits briefly for small content, to return it whole; otherwise returns a stream.
   *
   * @param length of the content; `null` for a stream in any case
   * @throws {ProxyError} why the content failed, if that was before any of it was passed on
   */
  gather(length: number | null): Promise<Bytes | ReadableStream<Bytes>> {
    if (length === null || length > MEMORY_BYTES) return Promise.resolve(this.#stream());
    const { promise, resolve, reject } = Promise.withResolvers<Bytes | ReadableStream<Bytes>>();
    const whole = new Uint8Array(length);
    let filled = 0;
    let late = false;
    const patience = this.#options.wheel.deadline(() => {
      late = true;
      if (filled > 0) this.#first = whole.subarray(0, filled);
      resolve(this.#stream());
    });
    // Pieces after the timeout are for the stream, which waits for the same read.
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
        // A piece is lent, but the runtime reads it later.
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
    const controller = this.#controller;
    const before = controller === null ? null : this.#options.beforeEnd?.(failure !== null) ?? null;
    const end = (): void => failure === null ? controller?.close() : controller?.error(failure);
    if (before === null) end();
    else void before.then(end).catch(() => {}); // The client may have gone meanwhile.
    if (failure !== null) this.#body.cancel(failure);
    this.#options.ended(this.#bytes, failure);
  }
}
