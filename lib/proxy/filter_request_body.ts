/** Lets the configuration change the content of a request. */

import { FilterError, ProxyError } from "../core/errors.ts";
import type { FilteredContent } from "../filter/filters.ts";
import { StreamBody, streamOf } from "../http/bodies.ts";
import { checkContent, type CheckedContent } from "./checked_content.ts";
import type { Exchange } from "./exchange.ts";
import { KeptBody } from "./kept_body.ts";
import { runFilter } from "./run_filter.ts";
import { keptBytesFor } from "./take_content.ts";

/**
 * Runs `requestBodyFilter` on content that there is, and puts what it makes in the place of the exchange's body.
 *
 * @throws {FilterError} when it throws, rejects, or returns something else than content
 */
export function filterRequestBody(exchange: Exchange): void | Promise<void> {
  const { requestBodyFilter } = exchange.filters;
  const source = exchange.body;
  if (requestBodyFilter === undefined || source === null || source.length === 0) return;
  const original = streamOf(source);
  const made = runFilter("requestBodyFilter", requestBodyFilter, original, exchange);
  const take = (content: FilteredContent): void => {
    exchange.throwIfCancelled();
    let checked: CheckedContent | null;
    try {
      checked = checkContent(content, original);
    } catch (error) {
      throw new FilterError("requestBodyFilter", error);
    }
    if (checked !== null) {
      exchange.body = new FilteredBody(source as KeptBody, checked, keptBytesFor(exchange));
    } else (source as KeptBody).rewind();
  };
  return made instanceof Promise ? made.then(take) : take(made);
}

/** Content of a filter's making, above the client's. */
class FilteredBody extends KeptBody {
  readonly #source: KeptBody;

  constructor(source: KeptBody, { stream, length }: CheckedContent, maxKeptBytes: number) {
    const explain = (cause: unknown): ProxyError | null => {
      // A client that breaks off is not the filter's fault, and no end that the filter makes of it is a clean one.
      if (source.failure !== null) return source.failure;
      if (cause === undefined) return null;
      // A filter may find that the content is the client's mistake.
      return cause instanceof ProxyError ? cause : new FilterError("requestBodyFilter", cause);
    };
    super(new StreamBody(stream, length), { explain, maxKeptBytes });
    this.#source = source;
  }

  override get ended(): boolean {
    return this.#source.ended;
  }

  override cancel(reason?: unknown): void {
    super.cancel(reason);
    this.#source.cancel(reason);
  }
}
