/** Completes what a pool says about the choice of its servers. */

import type { Balance } from "../balancer/create_algorithm.ts";
import { resolveQueue } from "../balancer/waiting_line.ts";
import { resolveEjection } from "../health/ejection_options.ts";
import { resolveHealthCheck } from "../health/health_check_options.ts";
import { resolveSlowStart } from "../health/slow_start.ts";
import { compileKey, type KeySpec } from "../limiter/key_spec.ts";
import type { BalancingOptions, ChoosePoolServer, ResolvedBalancing } from "./balancing_options.ts";
import { resolveDiscovery } from "./discovery_options.ts";
import type { RequestContext } from "../filter/request_context.ts";

/**
 * Completes options that are known to be good.
 *
 * @param totalMs how long an exchange may take; a request does not wait longer than that
 */
export function resolveBalancing(options: BalancingOptions, totalMs: number): ResolvedBalancing {
  const { balance = "round-robin", key, loadFactor = Infinity, healthCheck, ejection = {}, slowStart } =
    options;
  const { panicThreshold = 0, maxInFlight = Infinity, discovery, onHealthChange = null } = options;
  return Object.freeze({
    balance: typeof balance === "function" ? asBalance(balance) : balance,
    key: key === undefined ? null : Object.freeze({ spec: key as KeySpec, of: compileKey(key) }),
    loadFactor,
    healthCheck: resolveCheck(healthCheck),
    ejection: ejection === false ? null : resolveEjection(ejection),
    slowStart: slowStart === undefined ? null : resolveSlowStart(slowStart),
    panicThreshold,
    maxInFlight,
    queue: resolveWait(options.queue, totalMs),
    discovery: discovery === undefined ? null : resolveDiscovery(discovery),
    onHealthChange,
  });
}

/** The proxy asks its balancers with the context of the request. */
function asBalance(choose: ChoosePoolServer): Balance {
  return (servers, source) => {
    const ctx = source as RequestContext;
    return choose(servers, ctx.request, ctx);
  };
}

function resolveCheck(check: BalancingOptions["healthCheck"]): ResolvedBalancing["healthCheck"] {
  if (check === undefined) return null;
  return resolveHealthCheck(typeof check === "function" ? { type: "custom", check } : check);
}

function resolveWait(queue: BalancingOptions["queue"], totalMs: number): ResolvedBalancing["queue"] {
  if (queue === undefined) return null;
  const { size, timeoutMs } = resolveQueue(queue);
  return Object.freeze({ size, timeoutMs: Math.min(timeoutMs, totalMs) });
}
