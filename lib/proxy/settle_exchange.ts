/** Last step: everything that the request holds is given back, and everybody is told how it went. */

import { callAside } from "../core/callback.ts";
import { ClientGoneError, type ProxyError } from "../core/errors.ts";
import type { Filters } from "../config/filters.ts";
import type { Exchange } from "./exchange.ts";
import { reportCallbackError, reportFailure, reportRequest } from "./report.ts";

/** Ends an exchange; runs on every path, and only once however often it is called. */
export function settleExchange(exchange: Exchange, failure: ProxyError | null): void {
  if (exchange.settled) return;
  exchange.settled = true;
  const { runtime } = exchange;
  if (exchange.endAt === 0) exchange.endAt = runtime.clock.now();
  exchange.serverLease?.release();
  exchange.admissionLease?.[Symbol.dispose]();
  if (exchange.decision?.kind === "allowed" && exchange.decision.due !== null) {
    settleCharges(exchange, failure);
  }
  exchange.body?.[Symbol.dispose]();
  // Nobody will read it, and unread it would keep its connection for ever.
  // A filter that failed may have left it locked.
  exchange.unreadBody?.cancel().catch(() => exchange.cancellation.cancel(failure ?? new ClientGoneError()));
  exchange.tunnel?.[Symbol.dispose]();
  runtime.running.delete(exchange);
  if (failure?.status === 499) exchange.abortSignal(failure);
  if (failure !== null) reportFailure(exchange, failure);
  const { logging } = exchange.filters;
  if (logging !== undefined) runLogging(exchange, logging, failure);
  if (runtime.observer.wantsAccess) reportRequest(exchange, failure);
}

/** Lets policies charge what the request came to; one that no server has seen through no fault of its client is free. */
function settleCharges(exchange: Exchange, failure: ProxyError | null): void {
  const { decision, admission, runtime: { observer } } = exchange;
  const counts = failure === null || failure.source === "client" || exchange.reachedServer;
  try {
    admission!.limiter.settle(decision!, exchange, counts);
  } catch (error) {
    reportCallbackError(observer, "charge", error);
  }
}

/** The request is over: whatever goes wrong here is only reported. */
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
