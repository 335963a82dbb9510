/** The content of a request of `Deno.serve`. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { ClientGoneError, ProxyError, RequestError } from "../../core/errors.ts";
import type { Body, Bytes } from "../../http/message.ts";

/**
 * Most bytes of one read. Of chunked content the runtime finds a trailer section too long only when it may read more than
 * the 64 KiB of one at a time; in pieces of 64 KiB it reads on for ever (Deno 2.9.6).
 */
const READ_BYTES = 66 * 1024;

/** How long the end of a response that is a stream waits for a read of the request's content. */
const PENDING_READ_MS = 250;

/** How many buffers are kept for content to come. */
const MAX_KEPT = 32;

/**
 * What content is read into. Without it each request with content leaves 64 KiB to the collector, which comes late: of this memory
 * it knows little.
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

/** What a {@linkcode DenoContent} takes in addition to the request. */
interface DenoContentOptions {
  /** Declared length; `null` when the client did not say. */
  readonly length: number | null;
  readonly wheel: DeadlineWheel;
  /** How long the client may pause between two pieces. */
  readonly idleMs: number;
  readonly buffers: ContentBuffers;
  /** Called when all of the content has been read. */
  readonly onEnd: () => void;
}

/** Content that is read when somebody wants it. */
export class DenoContent implements Body {
  readonly length: number | null;
  readonly trailers: readonly string[] = [];
  readonly #request: Request;
  readonly #options: DenoContentOptions;
  readonly #deadline: Deadline;
  #reader: ContentReader | null = null;
  /** The read that the runtime is at. */
  #pending: Promise<Bytes | null> | null = null;
  /** How many bytes have come. */
  received = 0;
  /** Whether all bytes have come, and whether the runtime has said so. */
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

  /** Whether nothing more will be read from the client. */
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
      // All has come. A server that was told to finish, as it may be from then on, breaks off even the end.
      this.#finished = true;
      this.#failure = null;
      return null;
    } finally {
      this.#fail = null;
      this.#deadline.clear();
    }
  }

  /** Whoever asks behind the last piece has no more use for it. */
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
      // Content that had come with the head, its end included, is no stream of bytes.
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
   * Releases what nobody has read. Call it before a response that is passed on whole. Content that nobody has touched stays
   * with the runtime, which then says that the connection ends.
   *
   * A pending read has to end by itself, with what the client sends or by its going away: cancelled, it would never end, and keep
   * its buffer (Deno 2.9.6).
   */
  release(): void {
    void this.#release();
  }

  /**
   * The same before a response that is a stream ends: the runtime keeps a connection for good when a read is pending then
   * (Deno 2.9.6). One that does not end soon is cancelled all the same, unless the response is cut off: then it would keep the
   * connection as well.
   *
   * @returns resolves when the response may end; `null` when that is so already
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
    // Whoever waits for it is not to take what has come for all.
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
  /** Nobody looks at the last piece any more. */
  free(): void;
}

/** Reads into one buffer after the other what is lent piece by piece. */
class BufferedReader implements ContentReader {
  readonly #reader: ReadableStreamBYOBReader;
  readonly #buffers: ContentBuffers;
  /** `null` while the runtime has it. */
  #buffer: Bytes | null = null;

  constructor(reader: ReadableStreamBYOBReader, buffers: ContentBuffers) {
    this.#reader = reader;
    this.#buffers = buffers;
  }

  async read(): Promise<Bytes | null> {
    const buffer = this.#buffer ?? this.#buffers.take();
    this.#buffer = null;
    const { value, done } = await this.#reader.read(buffer);
    // One that was called off does not come back.
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
 * Why a client's content could not be read: what is wrong with it, or that the client has gone.
 *
 * The runtime's parser has only words to say so (Deno 2.9.6).
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

// Content that is pulled, as a stream that the runtime reads.

/** Content of a known length up to this is worth a wait: as a stream it costs the runtime far more. */
const MEMORY_BYTES = 128 * 1024;
/** How long it is waited for; then what has come is passed on, and the rest as a stream. */
const WHOLE_MS = 50;

/** What a {@linkcode PulledStream} takes in addition to the content. */
interface PulledStreamOptions {
  readonly wheel: DeadlineWheel;
  /** How long the client may take for a piece. */
  readonly idleMs: number;
  /** Called before a stream ends, or breaks off; what is waited for until the runtime learns of it. @default {nothing} */
  readonly beforeEnd?: (cut: boolean) => Promise<void> | null;
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
   * @throws {ProxyError} why the content broke off, if that was before any of it was passed on
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
    const controller = this.#controller;
    const before = controller === null ? null : this.#options.beforeEnd?.(failure !== null) ?? null;
    const end = (): void => failure === null ? controller?.close() : controller?.error(failure);
    if (before === null) end();
    else void before.then(end).catch(() => {}); // The client may have gone meanwhile.
    if (failure !== null) this.#body.cancel(failure);
    this.#options.ended(this.#bytes, failure);
  }
}
