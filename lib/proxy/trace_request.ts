/** The trace of a request: a span for the request, and one for each phase. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import {
  formatTraceparent,
  makeTraceId,
  parseTraceparent,
  type Span,
  type SpanAttributes,
  type TraceParent,
  type Tracer,
} from "../observe/tracer.ts";
import { TRACE_GROUP } from "../http/field_lines.ts";
import type { Exchange, ExchangeTrace } from "./exchange.ts";
import type { TraceRuntime } from "./proxy_runtime.ts";
import { shownTarget } from "./settled_entry.ts";

/** A request that is part of a trace. */
class RequestTrace implements ExchangeTrace {
  readonly traceId: string;
  readonly sampled: boolean;
  readonly #exchange: Exchange;
  readonly #clock: Clock;
  readonly #tracer: Tracer | null;
  readonly #random: Random;
  /** From the time of the clock to wall time, which spans use. */
  readonly #offset: number;
  /** The span of the whole request; `null` when no spans are collected. */
  readonly #span: Span | null;
  #attempt: Span | null = null;
  #attemptAt = 0;
  #doneAt: number;

  /** @param parent the trace context of the client; `null` for a new trace */
  constructor(exchange: Exchange, parent: TraceParent | null, { tracer, random }: TraceRuntime) {
    const { runtime: { clock }, startedAt, method } = exchange;
    this.#exchange = exchange;
    this.#clock = clock;
    this.#offset = clock.wallTime() - clock.now();
    this.#random = random;
    this.sampled = parent === null || parent.sampled;
    this.#tracer = this.sampled ? tracer : null;
    this.#doneAt = startedAt;
    this.#span = this.#tracer?.begin(method, "server", parent, startedAt + this.#offset, {}) ?? null;
    this.traceId = this.#span?.context.traceId ?? parent?.traceId ?? makeTraceId(random, 32);
  }

  /** A phase has ended; it began at the end of the previous one. */
  done(doing: string): void {
    const now = this.#clock.now();
    this.#add(doing, this.#doneAt, now);
    this.#doneAt = now;
  }

  /** The request is sent to a server, with the trace in its fields. */
  attemptBegun(pool: string, server: string): void {
    const { outgoing, queueMs } = this.#exchange;
    if (!this.sampled) return;
    const now = this.#attemptAt = this.#clock.now();
    if (queueMs > 0 && this.#exchange.attempts.length === 1) this.#add("queue", now - queueMs, now);
    this.#attempt = this.#begin("upstream", "client", now, {
      "server.address": server,
      "lbproxy.pool": pool,
    });
    const spanId = this.#attempt?.context.spanId ?? makeTraceId(this.#random, 16);
    outgoing!.headers.set("traceparent", formatTraceparent({ traceId: this.traceId, spanId, sampled: true }));
  }

  /** A server has responded, or failed: then `status` is 0. */
  attemptEnded(status: number, error: string | null): void {
    const { connectMs } = this.#exchange;
    if (connectMs !== null) this.#add("connect", this.#attemptAt, this.#attemptAt + connectMs);
    const span = this.#attempt;
    if (span === null) return;
    this.#attempt = null;
    if (status > 0) span.set({ "http.response.status_code": BigInt(status) });
    span.end(this.#clock.now() + this.#offset, error);
  }

  /** The request has ended. */
  ended(status: number, error: string | null): void {
    const span = this.#span;
    if (span === null) return;
    const { endAt, upstreamHeadAt, route, method } = this.#exchange;
    this.#attempt?.end(endAt + this.#offset, error);
    if (upstreamHeadAt > 0) this.#add("relay", upstreamHeadAt, endAt);
    span.set(attributesOf(this.#exchange, status));
    if (route !== null) {
      span.set({ "http.route": route });
      span.rename(`${method} ${route}`);
    }
    span.end(endAt + this.#offset, error ?? (status >= 500 ? String(status) : null));
  }

  #begin(name: string, kind: "internal" | "client", at: number, attributes: SpanAttributes): Span | null {
    return this.#span === null
      ? null
      : this.#tracer!.begin(name, kind, this.#span, at + this.#offset, attributes);
  }

  #add(name: string, from: number, to: number): void {
    this.#begin(name, "internal", from, {})?.end(to + this.#offset, null);
  }
}

/** The attributes, named by OpenTelemetry's semantic conventions. */
function attributesOf(exchange: Exchange, status: number): SpanAttributes {
  const { method, clientIp, host, stream: { protocol, listener: { scheme } } } = exchange;
  const target = shownTarget(exchange);
  const query = target.indexOf("?");
  return {
    "http.request.method": method,
    "http.response.status_code": BigInt(status),
    "url.scheme": scheme,
    "url.path": query < 0 ? target : target.slice(0, query),
    ...(query < 0 ? {} : { "url.query": target.slice(query + 1) }),
    "server.address": host,
    "client.address": clientIp,
    "network.protocol.version": protocol.slice("HTTP/".length),
    "lbproxy.request_id": exchange.requestId,
  };
}

/**
 * Continues the client's trace, or starts one; the first step where requests are traced.
 *
 * An invalid `traceparent` is dropped, and `tracestate` with it, which means nothing without it.
 */
export function beginTrace(exchange: Exchange): void {
  const trace = exchange.runtime.trace!;
  const parent = exchange.fields.mayHave(TRACE_GROUP) && isContinued(exchange, trace)
    ? parseTraceparent(exchange.field("traceparent"))
    : null;
  if (parent === null && !(trace.random() < trace.sample)) return;
  exchange.trace = new RequestTrace(exchange, parent, trace);
  exchange.tracedByClient = parent !== null;
}

function isContinued({ stream, runtime: { trustedProxies } }: Exchange, trace: TraceRuntime): boolean {
  switch (trace.continue) {
    case "anyone":
      return true;
    case "nobody":
      return false;
    case "trusted":
      return trustedProxies !== null && trustedProxies.trusts(stream.peerIp);
  }
}

/** Removes the trace fields of a client whose trace is not continued. */
export function dropForeignTrace(exchange: Exchange): void {
  if (exchange.tracedByClient || !exchange.fields.mayHave(TRACE_GROUP)) return;
  const { headers } = exchange.outgoing!;
  headers.delete("traceparent");
  headers.delete("tracestate");
}

/** The route of the request was found. */
export function traceRoute(exchange: Exchange): void {
  exchange.trace?.done("route");
}

/** The limiter has decided. */
export function traceLimiter(exchange: Exchange): void {
  if (exchange.decision !== null) exchange.trace?.done("limiter");
}
