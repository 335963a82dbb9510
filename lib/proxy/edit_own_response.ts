/** Lets the configuration edit the head of an answer that no server has given. */

import { refusePromise } from "../core/callback.ts";
import { headOf } from "../config/compose_response_filters.ts";
import type { ProxyResponse } from "../config/filters.ts";
import type { Exchange } from "./exchange.ts";
import { reportCallbackError } from "./report.ts";

/**
 * Runs `ownResponseFilter`; the answer as it was when that throws or is async, because what it is an answer to counts for more.
 *
 * What is no response is left to whoever hands it over.
 */
export function editOwnResponse(exchange: Exchange, response: Response): Response {
  const { filters: { ownResponseFilter }, runtime: { observer } } = exchange;
  if (ownResponseFilter === undefined) return response;
  if (!(response instanceof Response) || response.bodyUsed) return response;
  try {
    const head = headOf(response);
    const { status } = head;
    exchange.status = status;
    refusePromise(ownResponseFilter(head, exchange));
    return head.status === status && writeFields(response, head)
      ? response
      : new Response(response.body, { status: head.status, headers: [...head.headers] });
  } catch (error) {
    reportCallbackError(observer, "ownResponseFilter", error);
    return response;
  }
}

/** In place, since the runtime sends content with its length only as long as the response is the one it was made with. */
function writeFields({ headers }: Response, head: ProxyResponse): boolean {
  try {
    for (const name of new Set(headers.keys())) headers.delete(name);
  } catch {
    // Those of `Response.redirect()` cannot be changed.
    return false;
  }
  for (const [name, value] of head.headers) headers.append(name, value);
  return true;
}
