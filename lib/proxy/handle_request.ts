/** The way of a request through the proxy, step by step; each step is a file of its own. */

import { admitRequest, announceLimits } from "./admit_request.ts";
import { answerFailure } from "./answer_failure.ts";
import { attemptUpstreams } from "./attempt_upstreams.ts";
import { choosePeer } from "./choose_peer.ts";
import { type Entrance, Exchange } from "./exchange.ts";
import { filterResponse } from "./filter_response.ts";
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
    if (refused instanceof Response) return refused;
    if (refused !== null) {
      const refusedLater = await refused;
      if (refusedLater !== null) return refusedLater;
    }

    if (runtime.filters.requestFilter !== undefined) {
      const answered = await runRequestFilter(exchange, runtime.filters.requestFilter);
      if (answered !== null) return answered;
    }

    if (mayHaveContent(exchange.method)) await readBody(exchange);
    if (runtime.filters.upstreamPeer !== undefined) await choosePeer(exchange, runtime.filters.upstreamPeer);
    const response = await attemptUpstreams(exchange, prepareRequest(exchange));
    announceLimits(exchange, response);
    announceSession(exchange, response);

    const { responseFilter } = runtime.filters;
    return responseFilter === undefined
      ? relayResponse(exchange, response)
      : await filterResponse(exchange, response, responseFilter);
  } catch (error) {
    return await answerFailure(exchange, error);
  }
}
