/** Puts what happened to a request into the words of the log. */

import type { ProxyError } from "../core/errors.ts";
import { messageOf, stackOf } from "../core/callback.ts";
import { wouldRefuse } from "../limiter/policy_decision.ts";
import type { Observer } from "../observe/observer.ts";
import type { Exchange } from "./exchange.ts";

const NONE: readonly string[] = Object.freeze([]);

/** Reports a request that failed, with the reason underneath. */
export function reportFailure(exchange: Exchange, failure: ProxyError): void {
  const { cause, message } = failure;
  const reason = cause instanceof Error ? messageOf(cause) : "";
  exchange.runtime.observer.event({
    kind: "request_failure",
    requestId: exchange.requestId,
    method: exchange.method,
    target: exchange.target,
    status: failure.status,
    code: failure.code,
    message: reason === "" || message.includes(reason) ? message : `${message} (${reason})`,
    server: exchange.server?.address ?? null,
    source: failure.source,
    stack: failure.code === "proxy_internal_error" ? stackOf(cause) : null,
  });
}

/** Reports a request that is over. */
export function reportRequest(exchange: Exchange, failure: ProxyError | null): void {
  const { server, decision } = exchange;
  exchange.runtime.observer.access({
    requestId: exchange.requestId,
    clientIp: exchange.clientIp,
    method: exchange.method,
    target: exchange.target,
    status: failure?.status === 499 ? 499 : exchange.status,
    route: exchange.route,
    server: server?.address ?? null,
    pool: server?.pool ?? null,
    durationMs: exchange.endAt - exchange.startedAt,
    bytesSent: exchange.bytesSent,
    attempts: exchange.attempts.length,
    limitedBy: decision?.kind === "limited" ? decision.policy.name : null,
    wouldLimit: decision === null ? NONE : wouldRefuse(decision),
    error: failure?.code ?? null,
  });
}

/** Reports a function of the configuration that threw where nobody waits for it. */
export function reportCallbackError(observer: Observer, name: string, error: unknown): void {
  observer.event({
    kind: "callback_error",
    name,
    message: messageOf(error),
    stack: stackOf(error),
  });
}
