/** Tells clients what took how long. */

import type { HeaderFields } from "../http/header_fields.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Adds a `Server-Timing` field (W3C Server Timing): `queue`, `connect` and `upstream` where there was such a thing, and `proxy`
 * for all the rest until now. What a server says itself goes on beside it.
 */
export function announceTimings(exchange: Exchange, headers: HeaderFields): void {
  const { startedAt, upstreamStartAt, upstreamHeadAt, queueMs, connectMs, runtime: { clock } } = exchange;
  const connectedMs = connectMs ?? 0;
  const upstreamMs = upstreamHeadAt > 0 ? Math.max(0, upstreamHeadAt - upstreamStartAt - connectedMs) : 0;
  const metrics = [
    ...(queueMs > 0 ? [metric("queue", queueMs)] : []),
    ...(connectMs !== null ? [metric("connect", connectMs)] : []),
    ...(upstreamHeadAt > 0 ? [metric("upstream", upstreamMs)] : []),
    metric("proxy", Math.max(0, clock.now() - startedAt - queueMs - connectedMs - upstreamMs)),
  ];
  headers.append("server-timing", metrics.join(", "));
}

function metric(name: string, durationMs: number): string {
  return `${name};dur=${durationMs.toFixed(2)}`;
}
