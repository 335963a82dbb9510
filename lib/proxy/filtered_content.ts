/** Content of a filter's making on its way to the client. */

import type { Cancellation } from "../core/cancellation.ts";
import { ClientGoneError, ProxyError } from "../core/errors.ts";
import type { Body, Bytes } from "../http/message.ts";
import type { CheckedContent } from "./checked_content.ts";
import { FilterStream } from "./filter_stream.ts";

/** What a filter makes of a server's content; it never ends cleanly when that did not. */
export class FilteredContentBody implements Body {
  /** The server's content, as the filter reads it. */
  readonly source: Body;
  readonly ready: null = null;
  readonly whole: null = null;
  readonly trailers: readonly string[] = [];
  readonly #cancellation: Cancellation;
  #made: FilterStream | null = null;
  #sourceFailure: ProxyError | null = null;

  constructor(source: Body, cancellation: Cancellation) {
    this.#cancellation = cancellation;
    this.source = new WatchedBody(source, (failure) => this.#sourceFailure = failure);
  }

  /** Takes what the filter has made. */
  take({ stream, length }: CheckedContent): this {
    const phase = "responseBodyFilter";
    this.#made = new FilterStream(stream, { phase, cancellation: this.#cancellation, length });
    return this;
  }

  get length(): number | null {
    return this.#made!.length;
  }

  async read(): Promise<Bytes | null> {
    let piece: Bytes | null;
    try {
      piece = await this.#made!.read();
    } catch (error) {
      throw this.#sourceFailure ?? error;
    }
    if (piece === null && this.#sourceFailure !== null) throw this.#sourceFailure;
    return piece;
  }

  cancel(reason?: unknown): void {
    this.#made?.cancel(reason);
    this.source.cancel(reason);
  }
}

/** Content whose failure is kept in mind, whatever its reader makes of it. */
class WatchedBody implements Body {
  readonly #body: Body;
  readonly #onFailure: (failure: ProxyError) => void;

  constructor(body: Body, onFailure: (failure: ProxyError) => void) {
    this.#body = body;
    this.#onFailure = onFailure;
  }

  get length(): number | null {
    return this.#body.length;
  }

  get ready(): Bytes | null {
    return this.#body.ready;
  }

  get whole(): Bytes | null {
    return this.#body.whole;
  }

  get trailers(): readonly string[] {
    return this.#body.trailers;
  }

  async read(): Promise<Bytes | null> {
    try {
      return await this.#body.read();
    } catch (error) {
      if (error instanceof ProxyError && !(error instanceof ClientGoneError)) this.#onFailure(error);
      throw error;
    }
  }

  cancel(reason?: unknown): void {
    this.#body.cancel(reason);
  }
}
