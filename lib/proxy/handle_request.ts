/** The way of a request through the proxy, step by step. */

import type { ResolvedConfig } from "../config/proxy_config.ts";
import type { ProxyError } from "../core/errors.ts";
import { admitRequest, limitOverload } from "./admit_request.ts";
import {
  attemptFailed,
  attemptResponded,
  attemptUpstreams,
  maySendAgain,
  retryStatus,
} from "./attempt_upstreams.ts";
import type { ClientStream } from "./client_stream.ts";
import { Exchange, type ExchangeRuntime, type ExchangeSteps, type RequestStep } from "./exchange.ts";
import { chooseUpstream, filterRequestBody, runRequestFilter } from "./filter_request.ts";
import { filterResponse } from "./filter_response.ts";
import { failExchange } from "./local_reply.ts";
import { refuseUnrouted } from "./match_route.ts";
import { makeState, openExchange } from "./open_exchange.ts";
import { prepareRequest } from "./prepare_request.ts";
import { settleExchange } from "./settle_exchange.ts";
import { holdContent, takeContent } from "./take_content.ts";
import { beginTrace, dropForeignTrace, traceLimiter, traceRoute } from "./trace_request.ts";

/**
 * What happens to every request, in this order. A step that replies itself ends it; what one throws becomes a response.
 *
 * The last one sends the request, and goes on in {@linkcode EXCHANGE_STEPS} once a server has responded. Steps that have
 * nothing to do with this configuration are left out; a route may have limits and filters of its own.
 */
export function selectSteps(config: ResolvedConfig): readonly RequestStep[] {
  const { overload, limiter, routes, pools, filters } = config;
  const { requestFilter, requestBodyFilter, upstreamPeer } = filters;
  const routed = routes.length > 0;
  const traced = config.tracing !== null;
  const buffers = [...pools.values()].some(({ bufferBytes }) => bufferBytes > 0);
  return Object.freeze([
    ...(traced ? [beginTrace] : []),
    openExchange,
    ...(traced ? [traceRoute] : []),
    ...(overload !== null ? [limitOverload] : []),
    ...(limiter.length > 0 || routed ? [admitRequest] : []),
    ...(traced && (limiter.length > 0 || routed) ? [traceLimiter] : []),
    ...(requestFilter !== undefined || routed ? [runRequestFilter] : []),
    ...(routed ? [refuseUnrouted] : []),
    takeContent,
    ...(requestBodyFilter !== undefined || routed ? [filterRequestBody] : []),
    ...(upstreamPeer !== undefined || routed ? [chooseUpstream] : []),
    ...(buffers ? [holdContent] : []),
    prepareRequest,
    ...(traced ? [dropForeignTrace] : []),
    attemptUpstreams,
  ]);
}

/** Takes a request of a client; never throws. */
export function handleRequest(stream: ClientStream, runtime: ExchangeRuntime): void {
  goOn(new Exchange(runtime, stream), 0);
}

/** Takes a request that could not be read; never throws. */
export function refuseRequest(stream: ClientStream, error: ProxyError, runtime: ExchangeRuntime): void {
  const exchange = new Exchange(runtime, stream);
  try {
    makeState(exchange);
    failExchange(exchange, error);
  } catch (thrown) {
    failExchange(exchange, thrown);
  }
}

// Without a promise as long as no step needs one: of most requests none does.
function goOn(exchange: Exchange, from: number): void {
  try {
    const steps = exchange.runtime.requestSteps;
    for (let i = from; i < steps.length; i++) {
      const pending = steps[i]!(exchange);
      if (pending !== undefined) {
        exchange.delayed = true;
        pending.then(() => {
          if (exchange.answered) return;
          if (exchange.cancellation.cancelled) failExchange(exchange, exchange.cancellation.reason);
          else goOn(exchange, i + 1);
        }, (error) => failExchange(exchange, error));
        return;
      }
      if (exchange.answered) return;
    }
  } catch (error) {
    failExchange(exchange, error);
  }
}

/** What goes on when a server or the client has something to say. */
export const EXCHANGE_STEPS: ExchangeSteps = {
  responded(exchange, response) {
    try {
      attemptResponded(exchange, response);
      if (response.tunnel === undefined && retryStatus(exchange, response)) return;
      filterResponse(exchange, response)?.catch((error) => failExchange(exchange, error));
    } catch (error) {
      failExchange(exchange, error);
    }
  },
  failed(exchange, error) {
    try {
      attemptFailed(exchange, error);
    } catch (thrown) {
      failExchange(exchange, thrown);
    }
  },
  unsent(exchange, error) {
    exchange.answered = false;
    failExchange(exchange, error);
  },
  ended: settleExchange,
  maySendAgain,
};
