/** What a client gets when a step has failed. */

import { unexpected } from "../core/callback.ts";
import { ClientGoneError, FilterError, INTERNAL, OUT_OF_RESOURCES, ProxyError } from "../core/errors.ts";
import { resourceShortage } from "../core/resource_shortage.ts";
import { targetOf } from "../http/request_target.ts";
import { problemResponse } from "../http/problem_response.ts";
import { awaitFilter } from "./await_filter.ts";
import { editOwnResponse } from "./edit_own_response.ts";
import type { Exchange } from "./exchange.ts";
import { handOver, handOverMeasured } from "./hand_over.ts";
import { isLate } from "./late_error.ts";
import { reportCallbackError } from "./report.ts";

/** Settles the exchange with a failure; the answer is the one of `failToProxy`, or a problem document. */
export async function answerFailure(exchange: Exchange, thrown: unknown): Promise<Response> {
  let error = toProxyError(thrown);
  // Refused before it was read: filters and the log are shown it as it came.
  if (exchange.target === "") exchange.target = targetOf(exchange.received);
  exchange.status = error.status;
  const own = error.status === 499 ? null : await runFailToProxy(exchange, error);
  const { reason } = exchange.cancellation;
  if (reason instanceof ClientGoneError) error = reason;
  if (own !== null) {
    try {
      return handOver(exchange, editOwnResponse(exchange, own), "failToProxy", error);
    } catch (thrown) {
      reportFailToProxy(exchange, thrown instanceof FilterError ? thrown.cause : thrown);
    }
  }
  return handOverMeasured(exchange, problemResponse(error), error);
}

/** Anything that is not one of our errors is a mistake of ours, and none of the client's business. */
function toProxyError(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyError) return thrown;
  const kind = resourceShortage(thrown) === null ? INTERNAL : OUT_OF_RESOURCES;
  return new ProxyError("The proxy failed", { ...kind, cause: thrown });
}

async function runFailToProxy(exchange: Exchange, error: ProxyError): Promise<Response | null> {
  const { filters } = exchange;
  if (filters.failToProxy === undefined) return null;
  try {
    const answered = filters.failToProxy(error, exchange);
    const over = isLate(exchange) || exchange.cancellation.cancelled;
    const made = answered instanceof Promise ? await awaitFilter(exchange, answered, over) : answered;
    if (made === undefined || made === null) return null;
    if (made instanceof Response && !made.bodyUsed) return made;
    throw unexpected("a Response that was not read, or nothing", made);
  } catch (thrown) {
    // The failure that it was asked about is what the client gets told of.
    if (thrown !== exchange.cancellation.reason) reportFailToProxy(exchange, thrown);
    return null;
  }
}

function reportFailToProxy({ runtime: { observer } }: Exchange, thrown: unknown): void {
  reportCallbackError(observer, "failToProxy", thrown);
}
