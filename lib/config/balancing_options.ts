/** Options of a pool for the choice of servers and their health. */

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
 * Chooses one of the available servers; there is always at least one. If it returns nothing, or another server, the
 * request gets no server (503).
 *
 * `ctx.state` is `unknown` here: a function above `newContext` would fix its type too early.
 */
type ChoosePoolServer = Exclude<NonNullable<BalancingOptions["balance"]>, string>;

/** How a pool chooses among its servers and detects their failures. */
export interface BalancingOptions {
  /**
   * How servers are chosen, by name or by a function; `"consistent-hash"` and `"fnv-hash"` need a
   * {@linkcode BalancingOptions.key}. A function receives the available servers, at least one. If it returns nothing, or another
   * server, the request gets 503. `ctx.state` is `unknown` in it.
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
  /** Key for hashing, like the key of a limiter. Requests without it go to the servers in turn. @default {none} */
  key?: KeySpec<RequestContext>;
  /**
   * For `"consistent-hash"`: multiple of its share that a server may have in flight before the next server on the ring
   * takes over; above 1. @default {Infinity}
   */
  loadFactor?: number;
  /** Active checks, or a function that checks a server; without it every server counts as healthy. @default {none} */
  healthCheck?: ActiveCheckOptions | ((server: Server, signal: AbortSignal) => Promise<boolean | void>);
  /** Ejection of servers to which requests fail; `false` never ejects. @default {{}} */
  ejection?: EjectionOptions | false;
  /**
   * Ramps up the weight of a server after it was added or has recovered. Without it the server gets its full weight at
   * once.
   *
   * @default {none}
   */
  slowStart?: SlowStartOptions;
  /** When less than this share of the servers is healthy, all servers are used; 0 never uses them. @default {0} */
  panicThreshold?: number;
  /** Maximum number of requests in flight at all servers together. @default {Infinity} */
  maxInFlight?: number;
  /** Queue for requests while servers are full. Without it they are refused at once (503). @default {none} */
  queue?: QueueOptions;
  /**
   * Finds servers while the proxy runs, in addition to `servers` or instead of them. A search that fails or finds
   * nothing changes no server. The signal aborts at the timeout.
   *
   * @default {none}
   */
  discovery?: DiscoveryOptions | ((signal: AbortSignal) => Promise<readonly (string | ServerOptions)[]>);
  /** Called once for each change of a server's health by a check, up or down. @default {none} */
  onHealthChange?: (server: Server, healthy: boolean, reason: string) => void;
}

/** {@linkcode BalancingOptions} with every default filled in. */
export interface ResolvedBalancing {
  /** The algorithm in the form that the balancer uses. */
  readonly balance: Balance;
  /** The key for hashing, as configured and as a function; `null` without hashing. */
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
 * Fills in the defaults of validated options.
 *
 * @param totalMs total timeout of an exchange; a request does not wait longer than that
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

/** Balancers are called with the context of the request. */
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

/** Rules of a pool's options for the choice, checks and discovery of servers. */
export const BALANCING_RULES: Rules<BalancingOptions> = {
  ...LOAD_BALANCER_RULES,
  key: KEY_SPEC,
  discovery: DISCOVERY,
};

/** Checks combinations of options; ignores other problems. */
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
