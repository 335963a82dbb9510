/** Why there is no connection, in the words of RFC 9209. */

import { resourceShortage } from "../../core/resource_shortage.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../core/errors.ts";
import type { Peer } from "../../upstream/peer.ts";
import { formatAddress } from "../../upstream/address.ts";

/** What was being done when it failed. */
export type ConnectStage = "connect" | "handshake";

/** Makes the error of an exchange that never had a connection. */
export function classifyConnectError(cause: unknown, peer: Peer, stage: ConnectStage): UpstreamError {
  const shortage = resourceShortage(cause);
  const text = shortage ?? (cause instanceof Error ? cause.message : String(cause));
  const doing = stage === "connect" ? "connect to" : "agree on TLS with";
  return new UpstreamError(`Cannot ${doing} ${formatAddress(peer.address)}: ${text}`, {
    code: shortage !== null
      ? "out_of_resources"
      : stage === "connect"
      ? connectCode(cause, text)
      : handshakeCode(text),
    phase: "unsent",
    cause,
  });
}

/** Makes the error of a connection, or of a handshake, that took too long. */
export function connectTimeoutError(peer: Peer, stage: ConnectStage, timeoutMs: number): UpstreamError {
  const doing = stage === "connect" ? "connect to" : "agree on TLS with";
  return new UpstreamError(`Cannot ${doing} ${formatAddress(peer.address)}: not done after ${timeoutMs} ms`, {
    code: "connection_timeout",
    phase: "unsent",
  });
}

function connectCode(cause: unknown, text: string): UpstreamErrorCode {
  if (cause instanceof Deno.errors.ConnectionRefused || cause instanceof Deno.errors.NotFound) {
    return "connection_refused";
  }
  if (cause instanceof Deno.errors.TimedOut) return "connection_timeout";
  const lower = text.toLowerCase();
  if (lower.includes("dns") || lower.includes("lookup address") || lower.includes("name or service")) {
    return "dns_error";
  }
  if (lower.includes("no route") || lower.includes("unreachable") || lower.includes("invalid argument")) {
    return "destination_ip_unroutable";
  }
  return lower.includes("timed out") ? "connection_timeout" : "connection_refused";
}

function handshakeCode(text: string): UpstreamErrorCode {
  const lower = text.toLowerCase();
  if (lower.includes("certificate")) return "tls_certificate_error";
  if (lower.includes("reset") || lower.includes("broken pipe")) return "connection_terminated";
  return "tls_protocol_error";
}
