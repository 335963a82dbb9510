/** What a pool says about the choice of servers and their health. */

import type { Report, Rules, Unchecked } from "../core/options.ts";
import {
  DISCOVERY,
  type DiscoveryOptions,
  type ResolvedDiscovery,
  resolveDiscovery,
  type ServerOptions,
} from "./server_options.ts";
import { LOAD_BALANCER_RULES } from "../balancer/load_balancer_options.ts";
import type { Balance, BalanceName } from "../balancer/create_algorithm.ts";
import { type QueueOptions, type ResolvedQueue, resolveQueue } from "../balancer/waiting_line.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { type EjectionOptions, type ResolvedEjection, resolveEjection } from "../health/ejection_options.ts";
import {
  type ActiveCheckOptions,
  type ResolvedHealthCheck,
  resolveHealthCheck,
} from "../health/health_check_options.ts";
import type { HealthChange } from "../health/health_checker.ts";
import { type ResolvedSlowStart, resolveSlowStart, type SlowStartOptions } from "../health/slow_start.ts";
import { type CompiledKey, compileKey, KEY_SPEC, type KeySpec } from "../limiter/key_spec.ts";
import type { Server } from "../upstream/server.ts";

/**
 * Chooses one of the servers that may be used, which are never none. Nothing, or a server that is not among them,
 * means that the request gets no server (503).
 *
 * `ctx.state` is unknown here: a function above `newContext` would settle its type before it is known.
 */
type ChoosePoolServer = Exclude<NonNullable<BalancingOptions["balance"]>, string>;

/** How a pool chooses among its servers, and how it knows which of them work. */
export interface BalancingOptions {
  /**
   * How servers are chosen, by name or by a function; `"consistent-hash"` and `"fnv-hash"` need a
   * {@linkcode BalancingOptions.key}.
   * A function gets the servers that can be used, at least one. When it returns nothing, or another server, the
   * request gets 503. The type of `ctx.state` is unknown in it.
   *
   * @default {"round-robin"}
   */
  balance?:
    | BalanceName
    | ((
      candidates: readonly Server[],
      request: Request,
      ctx: RequestContext,
    ) => Server | undefined | void);
  /** What is hashed: the same keys as a limiter's. Requests without it go to the servers in turn. @default {none} */
  key?: KeySpec<RequestContext>;
  /**
   * For `"consistent-hash"`: how many times its share a server may have in flight before the next one on the ring
   * takes over; above 1. @default {Infinity}
   */
  loadFactor?: number;
  /** Active checks, or a function that checks a server; without it every server counts as healthy. @default {none} */
  healthCheck?: ActiveCheckOptions | ((server: Server, signal: AbortSignal) => Promise<boolean | void>);
  /** When a server is ejected because requests to it fail; `false` never ejects. @default {{}} */
  ejection?: EjectionOptions | false;
  /**
   * Ramps the weight of a server up after it was added or has recovered; without it the server gets its full weight
   * at once.
   *
   * @default {none}
   */
  slowStart?: SlowStartOptions;
  /** When less than this share of the servers is healthy, all servers are used; 0 never uses them. @default {0} */
  panicThreshold?: number;
  /** How many requests may run at all servers together. @default {Infinity} */
  maxInFlight?: number;
  /** Where requests wait while servers are full; without it they are refused at once (503). @default {none} */
  queue?: QueueOptions;
  /**
   * Where servers are found while the proxy runs, in addition to `servers` or in place of them.
   * A search that fails or finds nothing changes no server; the signal aborts at the timeout.
   *
   * @default {none}
   */
  discovery?: DiscoveryOptions | ((signal: AbortSignal) => Promise<readonly (string | ServerOptions)[]>);
  /** Called once each time a check finds that a server went down or came up. @default {none} */
  onHealthChange?: (server: Server, healthy: boolean, reason: string) => void;
}

/** The choice of servers of a pool, complete. */
export interface ResolvedBalancing {
  /** As the balancer takes it. */
  readonly balance: Balance;
  /** What is hashed, as configured and as a function; `null` when nothing is. */
  readonly key: { readonly spec: KeySpec; readonly of: CompiledKey } | null;
  readonly loadFactor: number;
  readonly healthCheck: ResolvedHealthCheck | null;
  readonly ejection: ResolvedEjection | null;
  readonly slowStart: ResolvedSlowStart | null;
  readonly panicThreshold: number;
  readonly maxInFlight: number;
  readonly queue: ResolvedQueue | null;
  readonly discovery: ResolvedDiscovery | null;
  readonly onHealthChange: HealthChange | null;
}

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
    healthCheck: healthCheck === undefined ? null : resolveHealthCheck(healthCheck),
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

function resolveWait(queue: BalancingOptions["queue"], totalMs: number): ResolvedBalancing["queue"] {
  if (queue === undefined) return null;
  const { size, timeoutMs } = resolveQueue(queue);
  return Object.freeze({ size, timeoutMs: Math.min(timeoutMs, totalMs) });
}

/** Options of a pool that say how its servers are chosen, watched and found. */
export const BALANCING_RULES: Rules<BalancingOptions> = {
  ...LOAD_BALANCER_RULES,
  key: KEY_SPEC,
  discovery: DISCOVERY,
};

/** Finds options that need or exclude each other; looks past whatever else is wrong. */
export function checkBalancing(
  pool: Unchecked<BalancingOptions> & { readonly servers?: unknown },
  report: Report,
): void {
  const { balance, key, loadFactor, servers, discovery, onHealthChange, healthCheck } = pool;
  const hashes = balance === "consistent-hash" || balance === "fnv-hash";
  if (hashes && key === undefined) report(`is required where "balance" is "${balance}"`, "key");
  if (!hashes && key !== undefined) {
    report('is only for "balance": "consistent-hash" or "fnv-hash"', "key");
  }
  if (balance !== "consistent-hash" && loadFactor !== undefined) {
    report('is only for "balance": "consistent-hash"', "loadFactor");
  }
  if (servers === undefined && discovery === undefined) {
    report('is required where there is no "discovery"', "servers");
  }
  if (onHealthChange !== undefined && healthCheck === undefined) {
    report('is never called without a "healthCheck"', "onHealthChange");
  }
}
