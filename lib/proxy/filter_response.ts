/** Lets the configuration edit or replace a server's answer. */

import { FilterError } from "../core/errors.ts";
import type { Filters } from "../config/filters.ts";
import type { UpstreamResponse } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import { handOver } from "./hand_over.ts";
import { relayResponse } from "./relay_response.ts";

/**
 * Runs `responseFilter` and relays what it leaves.
 *
 * @throws {FilterError} when it throws, rejects, or returns something else than a response
 */
export async function filterResponse(
  exchange: Exchange,
  upstream: UpstreamResponse,
  responseFilter: NonNullable<Filters["responseFilter"]>,
): Promise<Response> {
  exchange.status = upstream.status;
  const replaced = await runFilter(exchange, upstream, responseFilter);
  return replaced === null
    ? relayResponse(exchange, upstream)
    : handOver(exchange, replaced, "responseFilter");
}

async function runFilter(
  exchange: Exchange,
  upstream: UpstreamResponse,
  responseFilter: NonNullable<Filters["responseFilter"]>,
): Promise<Response | null> {
  try {
    const filtered = responseFilter(upstream, exchange);
    return (filtered instanceof Promise ? await filtered : filtered) ?? null;
  } catch (error) {
    throw new FilterError("responseFilter", error);
  }
}
