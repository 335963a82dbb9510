/** What the end of an attempt says about the server. */

import { TLS_HANDSHAKE_TIMEOUT, UpstreamError } from "../core/errors.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Outcome, Stage } from "../upstream/server.ts";
import type { Exchange } from "./exchange.ts";
import { isOutOfTime, TotalTimeoutError } from "./run_filter.ts";

/**
 * Classifies the status of its response: a gateway's error is a failure. Other errors may be as much the client's
 * doing as the server's, and say nothing.
 */
export function classifyStatus(status: number): Outcome {
  if (status < 400) return "success";
  return status === 502 || status === 503 || status === 504 ? "failure" : "ignored";
}

/**
 * Classifies an attempt that gave no response; whatever the client or the proxy itself has caused says nothing.
 *
 * A kept connection may be closed at any moment: that is no failure before a new one has failed as well.
 */
export function classifyError(exchange: Exchange, error: unknown): Outcome {
  if (!(error instanceof UpstreamError) || error instanceof TotalTimeoutError) return "ignored";
  if (exchange.cancellation.cancelled) return "ignored";
  if (exchange.body !== null && exchange.body.failure !== null) return "ignored";
  switch (error.code) {
    case "http_request_error":
    case "out_of_resources":
      return "ignored";
    case "connection_terminated":
      return error.reused ? "ignored" : "failure";
    case "connection_timeout":
    case TLS_HANDSHAKE_TIMEOUT:
    case "http_response_timeout":
      return hadLittleTime(exchange) ? "ignored" : "failure";
    default:
      return "failure";
  }
}

/** How far an attempt got that gave no response; in doubt further, because less ends an ejection then. */
export function stageOf(error: unknown, { tls }: Peer): Stage {
  if (!(error instanceof UpstreamError) || error.phase !== "unsent") return "request";
  switch (error.code) {
    case "connection_refused":
    case "destination_ip_unroutable":
    case "dns_error":
    case "dns_timeout":
      return "connect";
    case "connection_timeout":
      return tls === null ? "connect" : "tls";
    case TLS_HANDSHAKE_TIMEOUT:
    case "tls_certificate_error":
    case "tls_protocol_error":
      return "tls";
    default:
      return "request";
  }
}

/** Whether the exchange is out of time, and most of that was gone before the server had its turn. */
function hadLittleTime(exchange: Exchange): boolean {
  const { timeouts, startedAt, upstreamStartAt } = exchange;
  return isOutOfTime(exchange) && upstreamStartAt - startedAt > timeouts.totalMs / 2;
}
