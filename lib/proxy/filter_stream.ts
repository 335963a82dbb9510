/** Content that a filter gives as a stream. */

import type { Cancellation } from "../core/cancellation.ts";
import { FilterError, ProxyError } from "../core/errors.ts";
import { StreamBody } from "../http/bodies.ts";
import type { Bytes } from "../http/message.ts";

/** What a {@linkcode FilterStream} takes beside the stream. */
interface FilterStreamOptions {
  /** Which function has made it, for the log. */
  readonly phase: string;
  /** Called off when nobody waits for it any more: it may have no end. */
  readonly cancellation: Cancellation;
  /** How long it is, when that is known; `null` otherwise. */
  readonly length: number | null;
}

/** A stream that fails as its filter does, and ends when its exchange is called off. */
export class FilterStream extends StreamBody {
  readonly #options: FilterStreamOptions;

  constructor(stream: ReadableStream<Bytes>, options: FilterStreamOptions) {
    super(stream, options.length);
    this.#options = options;
  }

  override async read(): Promise<Bytes | null> {
    const { phase, cancellation } = this.#options;
    const calledOff = Promise.withResolvers<never>();
    using _listener = cancellation.listen((reason) => {
      this.cancel(reason);
      calledOff.reject(reason);
    });
    try {
      return await Promise.race([super.read(), calledOff.promise]);
    } catch (error) {
      throw error instanceof ProxyError ? error : new FilterError(phase, error);
    }
  }
}
