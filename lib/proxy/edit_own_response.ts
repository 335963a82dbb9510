/** Lets the configuration edit the head of an answer that no server has given. */

import { refusePromise } from "../core/callback.ts";
import { headOf } from "../config/compose_response_filters.ts";
import { withHead } from "../http/make_response.ts";
import type { Exchange } from "./exchange.ts";
import { reportCallbackError } from "./report.ts";

/**
 * Runs `ownResponseFilter`; the answer as it was when that throws or is async, because what it is an answer to counts for more.
 *
 * What is no response is left to whoever hands it over.
 *
 * @param content of the response, where it is at hand
 */
export function editOwnResponse(
  exchange: Exchange,
  response: Response,
  content: Uint8Array<ArrayBuffer> | null = null,
): Response {
  const { filters: { ownResponseFilter }, runtime: { observer } } = exchange;
  if (ownResponseFilter === undefined) return response;
  if (!(response instanceof Response) || response.bodyUsed) return response;
  try {
    const head = headOf(response);
    exchange.status = head.status;
    refusePromise(ownResponseFilter(head, exchange));
    return withHead(response, head, content);
  } catch (error) {
    reportCallbackError(observer, "ownResponseFilter", error);
    return response;
  }
}
