/** Content of a filter's making on its way to the client; its end is the end of the exchange. */

import { ClientGoneError, FilterError, ProxyError } from "../core/errors.ts";
import type { Exchange } from "./exchange.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The source of the stream that the client is given. */
export class FilteredStream implements UnderlyingDefaultSource<Bytes> {
  readonly #exchange: Exchange;
  #reader: ReadableStreamDefaultReader<Bytes> | null = null;
  #sourceRuns: boolean;
  #sourceFailure: ProxyError | null = null;
  #bytes = 0;

  /** @param sourceRuns whether the server's content is still on its way */
  constructor(exchange: Exchange, sourceRuns: boolean) {
    this.#exchange = exchange;
    this.#sourceRuns = sourceRuns;
  }

  /** Takes what the filter has made. */
  take(content: ReadableStream<Bytes>): void {
    this.#reader = content.getReader();
  }

  /** The transport's word that the server's content is over; gives the failure, if it is one. */
  sourceEnded(failure: ProxyError | null): ProxyError | null {
    this.#sourceRuns = false;
    const { cancelled } = this.#exchange.cancellation;
    // A filter may do without the rest of it.
    if (failure instanceof ClientGoneError && !cancelled) return null;
    this.#sourceFailure = failure;
    return failure;
  }

  async pull(controller: ReadableStreamDefaultController<Bytes>): Promise<void> {
    try {
      const { done, value } = await this.#reader!.read();
      if (!done) {
        this.#bytes += value.byteLength;
        return controller.enqueue(value);
      }
      // What the server broke off is never ended cleanly, whatever the filter makes of it.
      if (this.#sourceFailure !== null) throw this.#sourceFailure;
      controller.close();
      this.#end(null);
    } catch (error) {
      const failure = this.#sourceFailure ??
        (error instanceof ProxyError ? error : new FilterError("responseBodyFilter", error));
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
    if (this.#sourceRuns) exchange.cancellation.cancel(failure ?? new ClientGoneError());
  }
}
