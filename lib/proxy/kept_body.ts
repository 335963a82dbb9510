/** The content of a request, kept as long as it may have to be sent again. */

import { ClientGoneError, ProxyError } from "../core/errors.ts";
import { type Body, type Bytes, type RequestBody, StreamBody } from "../http/message.ts";
import type { Exchange } from "./exchange.ts";

/** How much is kept for another attempt. */
const KEPT_BYTES: number = 64 * 1024;

/** What a {@linkcode KeptBody} takes beside the content. */
interface KeptBodyOptions {
  /** How much is kept for another attempt. @default {65536} */
  readonly maxKeptBytes?: number;
  /** Says why the content could not be read, or, asked without a cause, why its end is none. @default {the client broke off} */
  readonly explain?: (cause: unknown) => ProxyError | null;
}

/**
 * Reads content once and gives it to each attempt from the beginning, as long as that fits in memory.
 *
 * Content that was let go cannot be sent again: {@linkcode KeptBody.repeatable} says so, and no retry is made then.
 */
export class KeptBody implements RequestBody {
  readonly #source: Body;
  #maxKeptBytes: number;
  readonly #explain: (cause: unknown) => ProxyError | null;
  /** What attempts have to be given before the source is asked for more. */
  #kept: Bytes[] = [];
  #keptBytes = 0;
  /** The piece that the attempt which runs is given next. */
  #position = 0;
  #attempt = 0;
  /** The attempt that waits for the source. */
  #waiting = 0;
  #pending: Promise<Bytes | null> | null = null;
  #repeatable = true;
  /** Whether what is read is for an attempt to come. */
  #holding = false;
  #ended = false;
  #cancelled = false;
  failure: ProxyError | null = null;

  constructor(source: Body, { maxKeptBytes = KEPT_BYTES, explain = brokeOff }: KeptBodyOptions = {}) {
    this.#source = source;
    this.#maxKeptBytes = maxKeptBytes;
    this.#explain = explain;
  }

  get length(): number | null {
    return this.#source.length;
  }

  // What is whole stays where it is until the exchange is over, so that nothing of it has to be kept.
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

  /** Reads until all has come, or so many bytes have, which can be sent again then. */
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
      throw this.failure ??= this.#explain(cause) ?? brokeOff(cause)!;
    }
    if (piece !== null) return this.#keep(piece);
    const failure = this.#explain(undefined);
    if (failure !== null) throw this.failure ??= failure;
    this.#ended = true;
    return null;
  }

  // A piece that is lent is gone with the next one, so that what is kept has to be a copy. An attempt that failed may have
  // left a read behind: its piece belongs to the next attempt, which may not have come to it yet.
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

  /** Lets go of the content; what has not been read is not wanted. */
  cancel(reason?: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#repeatable = false;
    this.#kept = [];
    this.#position = 0;
    if (!this.#ended && this.failure === null) this.#source.cancel(reason);
  }
}

function brokeOff(cause: unknown): ProxyError | null {
  if (cause === undefined) return null;
  if (cause instanceof ProxyError) return cause;
  return new ClientGoneError(`The client's content broke off: ${cause}`);
}

// Takes hold of the content of a request.

/**
 * Sets the exchange's body, which is read as a server takes it; what came so far can be sent again.
 */
export function takeContent(exchange: Exchange, body: Body): void {
  const { shownRequest } = exchange;
  // A filter that reads a copy of the content has it read once for both.
  const shown = shownRequest !== null && shownRequest.touched ? shownRequest.body : null;
  const source = shown === null ? body : new StreamBody(shown, body.length);
  exchange.body = new KeptBody(source, { maxKeptBytes: keptBytesFor(exchange) });
  exchange.delayed = true;
}

/**
 * Waits for the content where the pool wants its servers spared slow clients: for all of it, or as much as may be kept.
 *
 * @throws {ProxyError} when it is too slow, or breaks off
 */
export function holdContent(exchange: Exchange): void | Promise<void> {
  const { body, pool: { bufferBytes }, namedPeer, cancellation } = exchange;
  if (bufferBytes === 0 || namedPeer !== null || !(body instanceof KeptBody) || body.whole !== null) return;
  return new Promise((resolve, reject) => {
    // A read that is pending does not end before its client does.
    const listener = cancellation.listen(reject);
    body.hold(bufferBytes).then(resolve, reject).finally(() => listener[Symbol.dispose]());
  });
}

/** How much is kept: what a server that cannot be connected to has not got must still be there for the next one. */
export function keptBytesFor({ pool: { transport: { readsAheadBytes = 0 } }, retries }: Exchange): number {
  return Math.max(retries?.policy.bodyLimitBytes ?? KEPT_BYTES, readsAheadBytes);
}
