/** The content of a request, kept while it may have to be sent again. */

import { ClientGoneError, ProxyError } from "../core/errors.ts";
import { type Body, type Bytes, type RequestBody, StreamBody } from "../http/message.ts";
import type { Exchange } from "./exchange.ts";

/** How many bytes are kept for another attempt. */
const KEPT_BYTES: number = 64 * 1024;

/** Options of a {@linkcode KeptBody}. */
interface KeptBodyOptions {
  /** How many bytes are kept for another attempt. @default {65536} */
  readonly maxKeptBytes?: number;
  /**
   * Returns why the content could not be read or, without a cause, why its end is invalid. @default {the client broke
   * off}
   */
  readonly explain?: (cause: unknown) => ProxyError | null;
}

/**
 * Reads content once and returns it to each attempt from the beginning, as long as it fits in memory.
 *
 * Content that was dropped cannot be sent again: then {@linkcode KeptBody.repeatable} is `false`, and there is no
 * retry.
 */
export class KeptBody implements RequestBody {
  readonly #source: Body;
  #maxKeptBytes: number;
  readonly #explain: (cause: unknown) => ProxyError | null;
  /** Pieces that attempts get before more is read from the source. */
  #kept: Bytes[] = [];
  #keptBytes = 0;
  /** The next piece of the current attempt. */
  #position = 0;
  #attempt = 0;
  /** The attempt that waits for the source. */
  #waiting = 0;
  #pending: Promise<Bytes | null> | null = null;
  #repeatable = true;
  /** Whether pieces are read in advance for a later attempt. */
  #holding = false;
  #ended = false;
  #cancelled = false;
  failure: ProxyError | null = null;

  constructor(source: Body, { maxKeptBytes = KEPT_BYTES, explain = contentFailure }: KeptBodyOptions = {}) {
    this.#source = source;
    this.#maxKeptBytes = maxKeptBytes;
    this.#explain = explain;
  }

  get length(): number | null {
    return this.#source.length;
  }

  // Content in memory stays there until the exchange has ended, so nothing must be kept.
  get whole(): Bytes | null {
    return this.#kept.length === 0 && !this.#ended ? this.#source.whole : null;
  }

  get ready(): Bytes | null {
    if (this.#position < this.#kept.length) return this.#kept[this.#position]!;
    return this.#pending === null && this.failure === null ? this.#source.ready : null;
  }

  get trailers(): readonly string[] {
    return this.#source.trailers;
  }

  get ended(): boolean {
    return this.#ended || this.failure !== null || this.#cancelled || this.#source.whole !== null;
  }

  get repeatable(): boolean {
    return this.#repeatable && this.failure === null;
  }

  rewind(): void {
    if (!this.repeatable) throw new Error("Cannot send content again: its beginning is gone");
    this.#position = 0;
    this.#attempt++;
  }

  async read(): Promise<Bytes | null> {
    if (this.#position < this.#kept.length) return this.#kept[this.#position++]!;
    this.#waiting = this.#attempt;
    return await (this.#pending ??= this.#readNext().finally(() => this.#pending = null));
  }

  /** Reads all content, or so many bytes, which can then be sent again. */
  async hold(bytes: number): Promise<void> {
    this.#holding = true;
    this.#maxKeptBytes = Math.max(this.#maxKeptBytes, bytes);
    while (this.#keptBytes < bytes && await this.read() !== null);
    this.#holding = false;
    this.#position = 0;
  }

  async #readNext(): Promise<Bytes | null> {
    if (this.failure !== null) throw this.failure;
    if (this.#ended || this.#cancelled) return null;
    let piece: Bytes | null;
    try {
      piece = await this.#source.read();
    } catch (cause) {
      throw this.failure ??= this.#explain(cause) ?? contentFailure(cause)!;
    }
    if (piece !== null) return this.#keep(piece);
    const failure = this.#explain(undefined);
    if (failure !== null) throw this.failure ??= failure;
    this.#ended = true;
    return null;
  }

  // A lent piece is only valid until the next one, so kept pieces must be copies. A failed attempt may have left a
  // pending read: its piece belongs to the next attempt, which may not have reached it yet.
  #keep(piece: Bytes): Bytes {
    const awaited = this.#waiting === this.#attempt && this.#position === this.#kept.length;
    if (this.#repeatable || this.#holding) {
      this.#keptBytes += piece.length;
      this.#repeatable = this.#keptBytes <= this.#maxKeptBytes;
    }
    if (awaited && !this.#repeatable && !this.#holding) {
      this.#kept = [];
      this.#position = 0;
      return piece;
    }
    const copy = piece.slice();
    this.#kept.push(copy);
    if (awaited) this.#position++;
    return copy;
  }

  /** Releases the content; unread content is dropped. */
  cancel(reason?: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#repeatable = false;
    this.#kept = [];
    this.#position = 0;
    if (!this.#ended && this.failure === null) this.#source.cancel(reason);
  }
}

function contentFailure(cause: unknown): ProxyError | null {
  if (cause === undefined) return null;
  if (cause instanceof ProxyError) return cause;
  return new ClientGoneError(`The client's content broke off: ${cause}`);
}

// Prepares the content of a request for sending.

/** Sets the exchange's body, which is read at the pace of the server; the part read so far can be sent again. */
export function takeContent(exchange: Exchange, body: Body): void {
  const { shownRequest } = exchange;
  // If a filter reads a clone, the content is read once for both.
  const shown = shownRequest !== null && shownRequest.touched ? shownRequest.body : null;
  const source = shown === null ? body : new StreamBody(shown, body.length);
  exchange.body = new KeptBody(source, { maxKeptBytes: keptBytesFor(exchange) });
  exchange.delayed = true;
}

/**
 * Waits for the content if the pool protects its servers from slow clients: for all of it, or as much as may be kept.
 *
 * @throws {ProxyError} when it is too slow, or fails
 */
export function holdContent(exchange: Exchange): void | Promise<void> {
  const { body, pool: { bufferBytes }, namedPeer, cancellation } = exchange;
  if (bufferBytes === 0 || namedPeer !== null || !(body instanceof KeptBody) || body.whole !== null) return;
  return new Promise((resolve, reject) => {
    // A pending read does not end before the client sends or closes.
    const listener = cancellation.listen(reject);
    body.hold(bufferBytes).then(resolve, reject).finally(() => listener[Symbol.dispose]());
  });
}

/**
 * How many bytes are kept: bytes read for a server that could not be connected to must still be available for the
 * next one.
 */
export function keptBytesFor({ pool: { transport: { readsAheadBytes = 0 } }, retries }: Exchange): number {
  return Math.max(retries?.policy.bodyLimitBytes ?? KEPT_BYTES, readsAheadBytes);
}
