/** Lets the configuration edit or replace a server's answer. */

import { describeValue } from "../core/describe_value.ts";
import { FilterError } from "../core/errors.ts";
import { headOf, withoutContent } from "../config/compose_response_filters.ts";
import type { Filters, ProxyResponse } from "../config/filters.ts";
import type { UpstreamResponse } from "../transport/transport.ts";
import { announceLimits } from "./admit_request.ts";
import type { Exchange } from "./exchange.ts";
import { filterResponseBody } from "./filter_response_body.ts";
import { checkResponse, handOver } from "./hand_over.ts";
import { announceSession } from "./keep_session.ts";
import { relayResponse } from "./relay_response.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Runs `upstreamResponseFilter`, adds the proxy's own fields, runs `responseFilter` and `responseBodyFilter`, and
 * relays what they leave; without a promise as long as they need none.
 *
 * @throws {FilterError} when one of them throws, rejects, or returns what it must not
 */
export function filterResponse(exchange: Exchange, upstream: UpstreamResponse): Response | Promise<Response> {
  const { upstreamResponseFilter } = exchange.filters;
  exchange.status = upstream.status;
  if (upstreamResponseFilter === undefined) return filterAnswer(exchange, upstream, null);
  const made = runHeadFilter("upstreamResponseFilter", upstreamResponseFilter, upstream, exchange);
  return made instanceof Promise
    ? made.then((late) => filterAnswer(exchange, upstream, late))
    : filterAnswer(exchange, upstream, made);
}

/** @param replaced what `upstreamResponseFilter` has put in the place of the server's answer */
function filterAnswer(
  exchange: Exchange,
  upstream: UpstreamResponse,
  replaced: Response | null,
): Response | Promise<Response> {
  if (replaced !== null) checkResponse(replaced, "upstreamResponseFilter");
  const { responseFilter } = exchange.filters;
  const head = replaced === null ? upstream : headOf(replaced);
  announceLimits(exchange, head);
  announceSession(exchange, head);
  if (responseFilter === undefined) return finish(exchange, upstream, head, replaced);
  exchange.status = head.status;
  const made = runHeadFilter("responseFilter", responseFilter, head, exchange);
  const take = (later: Response | null): Response | Promise<Response> => {
    if (later === null) return finish(exchange, upstream, head, replaced);
    replaced?.body?.cancel().catch(() => {});
    return handOver(exchange, later, "responseFilter");
  };
  return made instanceof Promise ? made.then(take) : take(made);
}

function finish(
  exchange: Exchange,
  upstream: UpstreamResponse,
  head: ProxyResponse,
  replaced: Response | null,
): Response | Promise<Response> {
  if (replaced !== null) {
    return handOver(exchange, withoutContent(replaced, head), "upstreamResponseFilter");
  }
  const { responseBodyFilter } = exchange.filters;
  // A WebSocket has messages, and no content.
  if (responseBodyFilter === undefined || upstream.tunnel !== undefined) {
    return relayResponse(exchange, upstream);
  }
  const filtered = filterResponseBody(exchange, upstream, responseBodyFilter);
  return filtered instanceof Promise
    ? filtered.then(() => relayResponse(exchange, upstream))
    : relayResponse(exchange, upstream);
}

type HeadFilter = NonNullable<Filters["responseFilter"]>;

function runHeadFilter(
  phase: string,
  filter: HeadFilter,
  head: ProxyResponse,
  exchange: Exchange,
): Response | null | Promise<Response | null> {
  const { status } = head;
  const made = runFilter(phase, filter, head, exchange);
  const take = (response: Response | void): Response | null => {
    if (head.status !== status) checkStatus(head.status, phase);
    return response ?? null;
  };
  return made instanceof Promise ? made.then(take) : take(made);
}

/** One that a filter has set; a server's own is looked at when it is passed on. */
function checkStatus(status: unknown, phase: string): void {
  if (Number.isInteger(status) && status as number >= 200 && status as number <= 599) return;
  throw new FilterError(
    phase,
    new RangeError(`it must set a status from 200 to 599, set ${describeValue(status)}`),
  );
}
