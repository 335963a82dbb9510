/** Lets the configuration reply to a request itself. */

import type { Exchange } from "./exchange.ts";
import { filterReply, replyLocally } from "./local_reply.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Runs `requestFilter`, and sends what it returned.
 *
 * @throws {FilterError} when it throws, rejects, or returns something else than a response
 */
export function runRequestFilter(exchange: Exchange): void | Promise<void> {
  const { requestFilter } = exchange.filters;
  if (requestFilter === undefined) return;
  exchange.delayed = true;
  const made = runFilter("requestFilter", requestFilter, exchange.request, exchange);
  return made instanceof Promise ? made.then((late) => take(exchange, late)) : take(exchange, made);
}

function take(exchange: Exchange, made: Response | void): void {
  exchange.throwIfCancelled();
  if (made === undefined || made === null) return;
  if (made instanceof Response && made.status === 101) return passUpgrade(exchange, made);
  replyLocally(exchange, filterReply(exchange, made, "requestFilter"));
}

/** What `Deno.upgradeWebSocket()` has made: from here on the connection is the filter's. */
function passUpgrade(exchange: Exchange, response: Response): void {
  const { stream } = exchange;
  exchange.status = 101;
  exchange.answered = true;
  stream.passUpgrade(response);
}
