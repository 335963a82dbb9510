/** Hands the proxy's own answer, or a filter's, over to the runtime. */

import { FilterError } from "../core/errors.ts";
import { endBehindReset } from "../http/make_response.ts";
import type { Exchange } from "./exchange.ts";
import { declaresContent } from "./read_fields.ts";
import { settleExchange } from "./settle_exchange.ts";

/**
 * Settles the exchange with a response that did not come from a server.
 *
 * @throws {FilterError} when what a filter returned is no response, or one that was used before
 */
export function handOver(exchange: Exchange, response: Response, phase: string): Response {
  checkResponse(response, phase);
  exchange.status = response.status;
  settleExchange(exchange, null);
  return finishOwn(exchange, response);
}

/**
 * Sees to it that the client finds the end of a response of the proxy's own, and is told once that the connection ends: where content
 * has not been read the runtime says so by itself (Deno 2.9.6).
 */
export function finishOwn(exchange: Exchange, response: Response): Response {
  if (declaresContent(exchange.fields) && response.headers.has("connection")) {
    response.headers.delete("connection");
  }
  return response.status === 205 ? endReset(exchange, response) : response;
}

/** A 205 whose end a client of HTTP/1.1 finds; HTTP/2, which has no Host field, says it in another way. */
export function endReset({ method, fields }: Exchange, response: Response): Response {
  return fields.host === null || method === "HEAD" ? response : endBehindReset(response);
}

/**
 * Makes sure that what a filter returned can be handed over.
 *
 * Does not ask for the body: after that the runtime sends short content in chunks and without its length.
 *
 * @throws {FilterError} when it is no response, or one that was used before
 */
export function checkResponse(response: unknown, phase: string): asserts response is Response {
  if (!(response instanceof Response)) {
    throw new FilterError(
      phase,
      new TypeError(`it must return a Response or nothing, returned ${typeof response}`),
    );
  }
  if (response.bodyUsed) {
    throw new FilterError(phase, new TypeError("it returned a Response whose body was read already"));
  }
}
