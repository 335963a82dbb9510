/** Content of a filter's making on its way to the client; its end is the end of the exchange. */

import { ClientGoneError, FilterError, ProxyError } from "../core/errors.ts";
import type { Exchange } from "./exchange.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Where content is read from: a reader of a stream, for one. */
export type PieceReader = Pick<ReadableStreamDefaultReader<Bytes>, "read" | "cancel">;

/**
 * What content is made of: a server's that is still on its way, or has come; `"none"` where it has nothing to do with what
 * a server has given.
 */
export type ContentSource = "running" | "ended" | "none";

/** The source of the stream that the client is given. */
export class FilteredStream implements UnderlyingDefaultSource<Bytes> {
  readonly #exchange: Exchange;
  readonly #phase: string;
  readonly #failure: ProxyError | null;
  #source: ContentSource;
  #reader: PieceReader | null = null;
  #controller: ReadableStreamDefaultController<Bytes> | null = null;
  #sourceFailure: ProxyError | null = null;
  #bytes = 0;

  /**
   * @param phase whose content it is, for the log
   * @param failure what the exchange has failed by, where the content tells the client of it
   */
  constructor(exchange: Exchange, phase: string, source: ContentSource, failure: ProxyError | null = null) {
    this.#exchange = exchange;
    this.#phase = phase;
    this.#source = source;
    this.#failure = failure;
  }

  /** Whether it has nothing to do with what a server has given. */
  get own(): boolean {
    return this.#source === "none";
  }

  /** Takes what the filter has made. */
  take(reader: PieceReader): void {
    this.#reader = reader;
  }

  /** The transport's word that the server's content is over; gives the failure, if it is one. */
  sourceEnded(failure: ProxyError | null): ProxyError | null {
    if (this.#source === "none") return null;
    this.#source = "ended";
    const { cancelled } = this.#exchange.cancellation;
    // A filter may do without the rest of it.
    if (failure instanceof ClientGoneError && !cancelled) return null;
    this.#sourceFailure = failure;
    return failure;
  }

  /** The exchange was called off: content that a filter makes may have no end. */
  calledOff(reason: ProxyError): void {
    if (this.#controller === null || this.#exchange.settled) return;
    this.#reader!.cancel(reason).catch(() => {});
    this.#controller.error(reason);
    this.#end(reason);
  }

  start(controller: ReadableStreamDefaultController<Bytes>): void {
    this.#controller = controller;
  }

  async pull(controller: ReadableStreamDefaultController<Bytes>): Promise<void> {
    try {
      const { done, value } = await this.#reader!.read();
      if (this.#exchange.settled) return;
      if (!done) {
        this.#bytes += value.byteLength;
        return controller.enqueue(value);
      }
      // What the server broke off is never ended cleanly, whatever the filter makes of it.
      if (this.#sourceFailure !== null) throw this.#sourceFailure;
      controller.close();
      this.#end(this.#failure);
    } catch (error) {
      if (this.#exchange.settled) return;
      const failure = this.#sourceFailure ??
        (error instanceof ProxyError ? error : new FilterError(this.#phase, error));
      controller.error(failure);
      this.#end(failure);
    }
  }

  cancel(reason: unknown): void {
    this.#reader!.cancel(reason).catch(() => {});
    this.#end(new ClientGoneError());
  }

  #end(failure: ProxyError | null): void {
    const exchange = this.#exchange;
    exchange.bytesSent = this.#bytes;
    exchange.runtime.settle(exchange, failure);
    // Nobody reads on, and a filter need not pass that on.
    if (this.#source === "running") exchange.cancellation.cancel(failure ?? new ClientGoneError());
  }
}
