/** Last step: releases everything that the request holds, and reports the outcome. */

import { callAside, messageOf, stackOf } from "../core/callback.ts";
import type { ProxyError } from "../core/errors.ts";
import type { Filters } from "../filter/filters.ts";
import type { Observer } from "../observe/observer.ts";
import type { RouteMeter } from "../observe/metrics/meters.ts";
import type { Exchange } from "./exchange.ts";
import { shownTarget } from "./settled_entry.ts";

/**
 * Ends an exchange; runs on every path, and only once however often it is called.
 *
 * @param brokeOff why the response failed; `null` when all of it was sent
 */
export function settleExchange(exchange: Exchange, brokeOff: ProxyError | null): void {
  if (exchange.settled) return;
  exchange.settled = true;
  const { runtime } = exchange;
  const failure = exchange.failure ?? brokeOff;
  exchange.endAt = runtime.clock.now();
  exchange.serverLease?.release();
  exchange.admissionLease?.[Symbol.dispose]();
  if (exchange.entered) runtime.overload!.leave();
  if (exchange.decision?.kind === "allowed" && exchange.decision.due !== null) {
    settleCharges(exchange, failure);
  }
  const status = failure?.status === 499 ? 499 : exchange.status;
  if (exchange.trace !== null) exchange.trace.ended(status, failure?.code ?? null);
  const { meter } = exchange.matched ?? runtime;
  if (meter !== null) countRequest(exchange, meter, status);
  exchange.response?.release();
  exchange.body?.cancel();
  runtime.running.delete(exchange);
  if (failure?.status === 499) exchange.abortSignal(failure);
  // Content made by filters may still be in progress.
  if (brokeOff !== null) exchange.cancellation.cancel(brokeOff);
  if (failure !== null) reportFailure(exchange, failure);
  const { logging } = exchange.filters;
  if (logging !== undefined) runLogging(exchange, logging, failure);
  reportRequest(exchange, failure, brokeOff);
}

/** Counts a request that has ended. */
function countRequest(exchange: Exchange, meter: RouteMeter, status: number): void {
  const { stream, decision, trace } = exchange;
  const source = decision !== null && decision.kind === "limited"
    ? "limiter"
    : exchange.failure !== null
    ? "proxy"
    : exchange.responseSource;
  const durationMs = exchange.endAt - exchange.startedAt;
  meter.ended(
    exchange.method,
    status,
    source,
    durationMs,
    stream.bytesReceived,
    exchange.bytesSent,
  );
  if (trace !== null && trace.sampled) {
    meter.example(durationMs, trace.traceId, exchange.runtime.clock.wallTime());
  }
  if (exchange.webSocketOpen) exchange.runtime.webSocketMeter!.closed();
}

/** Lets policies charge the request. A request that no server has received, without a fault of its client, is free. */
function settleCharges(exchange: Exchange, failure: ProxyError | null): void {
  const { decision, admission, runtime: { observer } } = exchange;
  const counts = failure === null || failure.source === "client" || exchange.reachedServer;
  try {
    admission!.limiter.settle(decision!, exchange, counts);
  } catch (error) {
    reportCallbackError(observer, "charge", error);
  }
}

/** The request has ended: errors here are only reported. */
function runLogging(
  exchange: Exchange,
  logging: NonNullable<Filters["logging"]>,
  failure: ProxyError | null,
): void {
  callAside(
    () => logging(exchange, failure ?? undefined),
    (error) => reportCallbackError(exchange.runtime.observer, "logging", error),
  );
}

/** Reports a failed request, with the underlying reason. */
function reportFailure(exchange: Exchange, failure: ProxyError): void {
  const { cause, message } = failure;
  const reason = cause instanceof Error ? messageOf(cause) : "";
  exchange.runtime.observer.event({
    kind: "request_failure",
    requestId: exchange.requestId,
    method: exchange.method,
    target: shownTarget(exchange),
    status: failure.status,
    code: failure.code,
    message: reason === "" || message.includes(reason) ? message : `${message} (${reason})`,
    server: exchange.server?.address ?? null,
    source: failure.source,
    stack: failure.code === "proxy_internal_error" ? stackOf(cause) : null,
  });
}

/** Reports a request that has ended to the access log and the observer. */
function reportRequest(exchange: Exchange, failure: ProxyError | null, brokeOff: ProxyError | null): void {
  const { observer, accessLog, settled } = exchange.runtime;
  const logged = accessLog !== null && accessLog.log.samples;
  const { wantsAccess } = observer;
  if (!logged && !wantsAccess) return;
  settled.take(exchange, failure, brokeOff);
  // A receiver of an entry may keep it.
  const entry = wantsAccess || accessLog!.log.givesEntries ? settled.copy() : settled;
  if (logged) accessLog.log.record(entry, exchange.endAt, settled);
  settled.letGo();
  if (wantsAccess) observer.access(entry);
}

/** Reports an error of a function of the configuration whose result is not awaited. */
export function reportCallbackError(observer: Observer, name: string, error: unknown): void {
  observer.event({
    kind: "callback_error",
    name,
    message: messageOf(error),
    stack: stackOf(error),
  });
}
