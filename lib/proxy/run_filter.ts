/** Calls a function of the configuration in the middle of a request. */

import { FilterError } from "../core/errors.ts";
import { awaitFilter } from "./await_filter.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Runs a phase; what it gives at once comes back at once.
 *
 * @throws {FilterError} when it throws or rejects; what called the request off, when that has happened meanwhile
 */
export function runFilter<Subject, Result>(
  phase: string,
  filter: (subject: Subject, ctx: Exchange) => Result | Promise<Result>,
  subject: Subject,
  exchange: Exchange,
): Result | Promise<Result> {
  try {
    const result = filter(subject, exchange);
    if (!(result instanceof Promise)) return result;
    return awaitFilter(
      exchange,
      result.catch((error) => {
        throw failed(phase, error, exchange);
      }),
    );
  } catch (error) {
    throw failed(phase, error, exchange);
  }
}

/** A filter that waits for something on behalf of the request fails when that is called off; it is not to blame. */
function failed(phase: string, error: unknown, { cancellation }: Exchange): unknown {
  return cancellation.cancelled ? cancellation.reason : new FilterError(phase, error);
}
