/** The copy of one request, made while the request itself passes. */

import type { HeaderFields } from "../http/header_fields.ts";
import type { HeldCopy } from "./mirror_sender.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The head of a request. */
export interface CopiedHead {
  readonly method: string;
  readonly target: string;
  readonly headers: HeaderFields;
}

/** Sends itself once head and content are complete, or gives up its place. */
export class RequestCopy {
  readonly #place: HeldCopy;
  readonly #maxBytes: number;
  #head: CopiedHead | null = null;
  #pieces: Bytes[] | null = null;
  #bytes = 0;
  #complete = true;
  #over = false;

  constructor(place: HeldCopy, maxBytes: number) {
    this.#place = place;
    this.#maxBytes = maxBytes;
  }

  /** A stream that content passes unchanged. */
  tap(): TransformStream<Bytes, Bytes> {
    this.#pieces = [];
    this.#complete = false;
    return new TransformStream<Bytes, Bytes>({
      transform: (piece, controller) => {
        controller.enqueue(piece);
        this.#keep(piece);
      },
      flush: () => {
        this.#complete = true;
        this.#sendWhenWhole();
      },
    });
  }

  /** Takes the head; only the first one counts. */
  takeHead(head: CopiedHead): void {
    if (this.#head !== null) return;
    this.#head = head;
    this.#sendWhenWhole();
  }

  /** The request is over: what is not complete by now is never going to be. */
  release(): void {
    if (this.#over) return;
    this.#over = true;
    this.#pieces = null;
    this.#place.giveUp();
  }

  #keep(piece: Bytes): void {
    if (this.#over) return;
    this.#bytes += piece.byteLength;
    if (this.#bytes > this.#maxBytes) return this.release();
    this.#pieces!.push(piece.slice());
  }

  #sendWhenWhole(): void {
    if (this.#over || this.#head === null || !this.#complete) return;
    this.#over = true;
    const content = this.#pieces === null ? null : joined(this.#pieces, this.#bytes);
    this.#pieces = null;
    this.#place.send(this.#head, content);
  }
}

function joined(pieces: readonly Bytes[], length: number): Bytes {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
