/** Lets the configuration answer a request itself. */

import type { Filters } from "../config/filters.ts";
import { editOwnResponse } from "./edit_own_response.ts";
import type { Exchange } from "./exchange.ts";
import { handOver } from "./hand_over.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Runs `requestFilter`; the response to give when it made one, otherwise `null`.
 *
 * @throws {FilterError} when it throws, rejects, or returns something else
 */
export function runRequestFilter(
  exchange: Exchange,
  requestFilter: NonNullable<Filters["requestFilter"]>,
): Response | null | Promise<Response | null> {
  const answer = runFilter("requestFilter", requestFilter, exchange.request, exchange);
  return answer instanceof Promise
    ? answer.then((late) => takeAnswer(exchange, late))
    : takeAnswer(exchange, answer);
}

function takeAnswer(exchange: Exchange, answer: Response | void): Response | null {
  exchange.throwIfCancelled();
  if (answer === undefined || answer === null) return null;
  return handOver(exchange, editOwnResponse(exchange, answer), "requestFilter");
}
