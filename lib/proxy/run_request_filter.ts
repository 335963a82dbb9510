/** Lets the configuration answer a request itself. */

import { FilterError } from "../core/errors.ts";
import type { Filters } from "../config/filters.ts";
import type { Exchange } from "./exchange.ts";
import { handOver } from "./hand_over.ts";

/**
 * Runs `requestFilter`; the response to give when it made one, otherwise `null`.
 *
 * @throws {FilterError} when it throws, rejects, or returns something else
 */
export async function runRequestFilter(
  exchange: Exchange,
  requestFilter: NonNullable<Filters["requestFilter"]>,
): Promise<Response | null> {
  let answer: Response | void;
  try {
    answer = await requestFilter(exchange.request, exchange);
  } catch (error) {
    throw new FilterError("requestFilter", error);
  }
  exchange.throwIfCancelled();
  if (answer === undefined || answer === null) return null;
  return handOver(exchange, answer, "requestFilter");
}
