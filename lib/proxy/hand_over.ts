/** Hands the proxy's own answer, or a filter's, over to the runtime. */

import { FilterError, type ProxyError } from "../core/errors.ts";
import { endBehindReset, hasNoContent } from "../http/make_response.ts";
import type { MeasuredResponse } from "../http/problem_response.ts";
import { editOwnResponse } from "./edit_own_response.ts";
import type { Exchange } from "./exchange.ts";
import { bytesAtHand, countContent } from "./own_content.ts";
import { declaresContent } from "./read_fields.ts";
import { settleExchange } from "./settle_exchange.ts";

/**
 * Settles the exchange with a response that did not come from a server; at the end of its content, where that streams.
 *
 * @param phase who has made the response, for the log
 * @param failure what the exchange has failed by, where the response tells the client of it
 * @throws {FilterError} when what a filter returned is no response, or one whose content is used by somebody else
 */
export function handOver(
  exchange: Exchange,
  response: Response,
  phase: string,
  failure: ProxyError | null = null,
): Response {
  checkResponse(response, phase);
  const bytes = carriesContent(exchange, response) ? bytesAtHand(response) : 0;
  if (bytes !== null || response.body === null) return settleWith(exchange, response, bytes ?? 0, failure);
  exchange.status = response.status;
  return finishOwn(exchange, countContent(exchange, response, phase, failure));
}

/** Settles the exchange with a response of the proxy's own, as `ownResponseFilter` has left it. */
export function handOverMeasured(
  exchange: Exchange,
  { response, body }: MeasuredResponse,
  failure: ProxyError | null = null,
): Response {
  const edited = editOwnResponse(exchange, response, body);
  return settleWith(exchange, edited, carriesContent(exchange, edited) ? body.byteLength : 0, failure);
}

/** Whether the client gets any content of the response. */
function carriesContent({ method }: Exchange, { status }: Response): boolean {
  return method !== "HEAD" && status !== 101 && !hasNoContent(status);
}

function settleWith(
  exchange: Exchange,
  response: Response,
  bytes: number,
  failure: ProxyError | null,
): Response {
  exchange.status = failure?.status === 499 ? 499 : response.status;
  exchange.bytesSent = bytes;
  settleExchange(exchange, failure);
  return finishOwn(exchange, response);
}

/**
 * Sees to it that the client finds the end of a response of the proxy's own, and is told once that the connection ends: where content
 * has not been read the runtime says so by itself (Deno 2.9.6).
 */
function finishOwn(exchange: Exchange, response: Response): Response {
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
