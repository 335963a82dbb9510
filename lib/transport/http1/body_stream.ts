/** A response body that did not come with its head, piece by piece as its reader asks for it. */

import { ClientGoneError, type ProxyError, UpstreamError } from "../../core/errors.ts";
import type { SendOptions } from "../transport.ts";
import type { BodyReader } from "./body_reader.ts";

/** Bytes that one read may bring, to begin with. */
const CHUNK_BYTES = 64 * 1024;
/** ... and at most: a body that fills its buffers gets larger ones, and needs fewer turns of the loop. */
const MAX_CHUNK_BYTES = 256 * 1024;
/** A read that brings less than this tells of a slow body. */
const SLOW_BYTES = 8 * 1024;

type Bytes = Uint8Array<ArrayBuffer>;

/** A read that was begun before the stream was there. */
export interface PendingRead {
  readonly buffer: Bytes;
  readonly count: Promise<number | null>;
}

/** The connection as its body sees it. */
export interface BodyStreamOwner {
  /** Begins a read of the socket. */
  read(buffer: Bytes): Promise<number | null>;
  /** The server's next piece is waited for: the idle deadline starts anew. */
  progressed(): void;
  /** The reader has a piece and did not ask for another: however long it takes, that is not the server's fault. */
  paused(): void;
  /** The body was read to its end; `clean` unless bytes came after it. */
  bodyEnded(clean: boolean): void;
  /** The body is not going to be read to its end. */
  bodyBroken(): void;
}

/** What a {@linkcode BodyStream} is made of. */
export interface BodyStreamInit {
  readonly owner: BodyStreamOwner;
  readonly reader: BodyReader;
  /** What came with the head. */
  readonly first: Bytes | null;
  readonly pending: PendingRead | null;
  readonly options: SendOptions;
}

/** The source of a stream that reads from a connection; it ends in exactly one of four ways. */
export class BodyStream implements UnderlyingDefaultSource<Bytes> {
  readonly #owner: BodyStreamOwner;
  readonly #reader: BodyReader;
  readonly #options: SendOptions;
  #first: Bytes | null;
  #pending: PendingRead | null;
  #buffer: Bytes | null = null;
  #chunkBytes = CHUNK_BYTES;
  #controller: ReadableStreamDefaultController<Bytes> | null = null;
  #bytes = 0;
  #over = false;

  constructor({ owner, reader, first, pending, options }: BodyStreamInit) {
    this.#owner = owner;
    this.#reader = reader;
    this.#first = first;
    this.#pending = pending;
    this.#options = options;
  }

  start(controller: ReadableStreamDefaultController<Bytes>): void {
    this.#controller = controller;
    if (this.#first !== null) this.#hand(this.#first);
    this.#first = null;
  }

  async pull(): Promise<void> {
    while (!this.#over) {
      this.#owner.progressed();
      const { buffer, count } = this.#pending ?? this.#read();
      this.#pending = null;
      try {
        const read = await count;
        if (this.#over) return;
        if (read === null) return this.#atEndOfConnection();
        if (this.#take(buffer, read)) return this.#over ? undefined : this.#owner.paused();
      } catch (error) {
        return this.fail(error instanceof UpstreamError ? error : incomplete(error));
      }
    }
  }

  /** The reader has no use for the rest: its client went away. */
  cancel(): void {
    this.#controller = null;
    this.fail(new ClientGoneError());
  }

  /** Breaks the body off: the stream errors, so that nobody takes what came for the whole. */
  fail(error: ProxyError): void {
    if (this.#over) return;
    this.#over = true;
    this.#controller?.error(error);
    this.#owner.bodyBroken();
    this.#options.onBodyEnd?.(this.#bytes, error);
  }

  #read(): PendingRead {
    const buffer = this.#buffer ??= new Uint8Array(Math.min(this.#reader.atMost, this.#chunkBytes));
    return { buffer, count: this.#owner.read(buffer) };
  }

  // True when there was something to hand over, or the body has ended.
  #take(buffer: Bytes, read: number): boolean {
    const reader = this.#reader;
    if (read === buffer.length) this.#chunkBytes = Math.min(this.#chunkBytes * 2, MAX_CHUNK_BYTES);
    reader.read(buffer, 0, read);
    const { contentStart, contentEnd } = reader;
    const found = contentEnd - contentStart;
    if (found > buffer.length / 2) {
      // Handed over as it is: copying it would cost more than the next buffer.
      this.#hand(buffer.subarray(contentStart, contentEnd));
      this.#buffer = null;
    } else if (found > 0) {
      this.#hand(buffer.slice(contentStart, contentEnd));
      if (found < SLOW_BYTES) this.#slowDown(buffer);
    }
    if (reader.done) this.#end(reader.next === read);
    return found > 0 || reader.done;
  }

  // What comes in drops need not hold a large buffer.
  #slowDown(buffer: Bytes): void {
    if (buffer.length > CHUNK_BYTES) this.#buffer = null;
    this.#chunkBytes = CHUNK_BYTES;
  }

  #atEndOfConnection(): void {
    if (this.#reader.endsWithConnection) this.#end(false);
    else this.fail(incomplete(undefined));
  }

  #end(clean: boolean): void {
    this.#over = true;
    this.#controller?.close();
    this.#owner.bodyEnded(clean);
    this.#options.onBodyEnd?.(this.#bytes, null);
  }

  #hand(piece: Bytes): void {
    this.#bytes += piece.length;
    this.#controller?.enqueue(piece);
  }
}

function incomplete(cause: unknown): UpstreamError {
  return new UpstreamError("Cannot read the response: the connection was lost in the middle of the body", {
    code: "http_response_incomplete",
    phase: "answered",
    cause,
  });
}
