/** Lets the configuration change the content of a request. */

import { FilterError, ProxyError } from "../core/errors.ts";
import type { DeadlineWheel } from "../core/deadline_wheel.ts";
import type { FilteredContent, Filters } from "../config/filters.ts";
import type { RequestBody } from "../transport/transport.ts";
import { checkContent, type CheckedContent } from "./checked_content.ts";
import type { Exchange } from "./exchange.ts";
import { ReplayBody } from "./replay_body.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Runs `requestBodyFilter` on content that there is, and puts what it makes in the place of the exchange's body.
 *
 * @throws {FilterError} when it throws, rejects, or returns something else than content
 */
export function filterRequestBody(
  exchange: Exchange,
  requestBodyFilter: NonNullable<Filters["requestBodyFilter"]>,
): void | Promise<void> {
  const source = exchange.body;
  if (source === null || source.length === 0) return;
  const original = source.open();
  const made = runFilter("requestBodyFilter", requestBodyFilter, original, exchange);
  const take = (content: FilteredContent): void => {
    exchange.throwIfCancelled();
    let checked: CheckedContent | null;
    try {
      checked = checkContent(content, original);
    } catch (error) {
      throw new FilterError("requestBodyFilter", error);
    }
    if (checked !== null) exchange.body = new FilteredBody(source, checked, exchange.runtime.wheel);
  };
  return made instanceof Promise ? made.then(take) : take(made);
}

/** Content of a filter's making, above the client's. */
class FilteredBody extends ReplayBody {
  readonly #source: RequestBody;

  constructor(source: RequestBody, { stream, length }: CheckedContent, wheel: DeadlineWheel) {
    const explain = (cause: unknown): ProxyError | null => {
      // A client that breaks off is not the filter's fault, and no end that the filter makes of it is a clean one.
      if (source instanceof ReplayBody && source.failure !== null) return source.failure;
      if (cause === undefined) return null;
      // A filter may find that the content is the client's mistake.
      return cause instanceof ProxyError ? cause : new FilterError("requestBodyFilter", cause);
    };
    // The client is held to its pace by the source; how long a filter takes is its own affair.
    super(stream, { length, wheel, idleMs: Infinity, explain });
    this.#source = source;
  }

  override get ended(): boolean {
    return this.#source instanceof ReplayBody ? this.#source.ended : true;
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#source[Symbol.dispose]();
  }
}
