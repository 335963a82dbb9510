/** The copy of one request: made while the request itself passes, then sent. */

import { messageOf } from "../core/callback.ts";
import { type BackgroundRequest, type FilterServices, servicesOf } from "../filter/filter_services.ts";
import type { RequestContext } from "../filter/request_context.ts";
import type { Peer } from "../upstream/peer.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What is needed of the request that is copied, which may be over before its copy is. */
export type CopiedRequest = Pick<RequestContext, "pools" | "log">;

/** What the copies of one filter have in common. */
export interface CopyOptions {
  /** Requests with more content are not copied. */
  readonly maxBytes: number;
  /** How long the exchange of a copy may take. */
  readonly timeoutMs: number;
  /** Where the next copy goes; `null` when there is no server for it. */
  readonly nextPeer: (origin: CopiedRequest) => Peer | null;
  /** Called once for each copy, when it has been sent or given up. */
  readonly onEnd: () => void;
}

/** Sends itself once head and content are complete. */
export class RequestCopy {
  readonly #options: CopyOptions;
  readonly #origin: CopiedRequest;
  readonly #services: FilterServices;
  #head: Omit<BackgroundRequest, "content"> | null = null;
  #pieces: Bytes[] | null = null;
  #bytes = 0;
  #complete = true;
  #over = false;

  constructor(ctx: RequestContext, options: CopyOptions) {
    this.#options = options;
    this.#origin = { pools: ctx.pools, log: ctx.log };
    this.#services = servicesOf(ctx);
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
  takeHead(head: Omit<BackgroundRequest, "content">): void {
    if (this.#head !== null) return;
    this.#head = head;
    this.#sendWhenWhole();
  }

  /** The request is over: what is not complete by now is never going to be. */
  giveUp(): void {
    if (this.#over) return;
    this.#over = true;
    this.#pieces = null;
    this.#options.onEnd();
  }

  #keep(piece: Bytes): void {
    if (this.#over) return;
    this.#bytes += piece.byteLength;
    if (this.#bytes > this.#options.maxBytes) return this.giveUp();
    this.#pieces!.push(piece.slice());
  }

  #sendWhenWhole(): void {
    if (this.#over || this.#head === null || !this.#complete) return;
    this.#over = true;
    const content = this.#pieces === null ? null : joined(this.#pieces, this.#bytes);
    this.#pieces = null;
    void this.#send({ ...this.#head, content });
  }

  async #send(request: BackgroundRequest): Promise<void> {
    const { nextPeer, timeoutMs, onEnd } = this.#options;
    try {
      const peer = nextPeer(this.#origin);
      if (peer !== null) await this.#services.sendInBackground(request, peer, timeoutMs);
    } catch (error) {
      this.#origin.log.debug("A mirrored request failed", { reason: messageOf(error) });
    } finally {
      onEnd();
    }
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
