/** The way of a request through the proxy, step by step; each step is a file of its own. */

import { admitRequest, announceLimits } from "./admit_request.ts";
import { answerFailure } from "./answer_failure.ts";
import { attemptUpstreams } from "./attempt_upstreams.ts";
import { choosePeer } from "./choose_peer.ts";
import { type Entrance, Exchange } from "./exchange.ts";
import { filterRequestBody } from "./filter_request_body.ts";
import { filterResponse } from "./filter_response.ts";
import { refuseUnrouted } from "./match_route.ts";
import { openExchange } from "./open_exchange.ts";
import { announceSession } from "./keep_session.ts";
import { prepareRequest } from "./prepare_request.ts";
import type { ProxyRuntime } from "./proxy_runtime.ts";
import { mayHaveContent, readBody } from "./read_body.ts";
import { relayResponse } from "./relay_response.ts";
import { runRequestFilter } from "./run_request_filter.ts";

/** Answers one request of a client; never rejects. */
export async function handleRequest(
  request: Request,
  info: Deno.ServeHandlerInfo<Deno.NetAddr>,
  runtime: ProxyRuntime,
  entrance: Entrance,
): Promise<Response> {
  const exchange = new Exchange(runtime, request, info, entrance);
  try {
    openExchange(exchange);

    const refused = admitRequest(exchange);
    if (refused !== null) {
      if (refused instanceof Response) return refused;
      exchange.delayed = true;
      const refusedLater = await refused;
      if (refusedLater !== null) return refusedLater;
    }

    const { requestFilter, requestBodyFilter, upstreamPeer } = exchange.filters;
    if (requestFilter !== undefined) {
      exchange.delayed = true;
      const answered = runRequestFilter(exchange, requestFilter);
      const answer = answered instanceof Promise ? await answered : answered;
      if (answer !== null) return answer;
    }

    refuseUnrouted(exchange);
    if (mayHaveContent(exchange.method)) {
      exchange.delayed = true;
      await readBody(exchange);
    }
    if (requestBodyFilter !== undefined) {
      exchange.delayed = true;
      await filterRequestBody(exchange, requestBodyFilter);
    }
    if (upstreamPeer !== undefined) {
      exchange.delayed = true;
      const chosen = choosePeer(exchange, upstreamPeer);
      if (chosen !== undefined) await chosen;
    }
    const response = await attemptUpstreams(exchange, prepareRequest(exchange));
    if (exchange.filtersResponse) {
      const filtered = filterResponse(exchange, response);
      return filtered instanceof Promise ? await filtered : filtered;
    }
    announceLimits(exchange, response);
    announceSession(exchange, response);
    return relayResponse(exchange, response);
  } catch (error) {
    return await answerFailure(exchange, error);
  }
}
