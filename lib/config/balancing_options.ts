/** What a pool says about the choice of servers, their health, and their coming and going. */

import type { Balance, BalanceName } from "../balancer/create_algorithm.ts";
import type { QueueOptions, ResolvedQueue } from "../balancer/waiting_line.ts";
import type { EjectionOptions, ResolvedEjection } from "../health/ejection_options.ts";
import type { ActiveCheckOptions, CheckServer, ResolvedHealthCheck } from "../health/health_check_options.ts";
import type { HealthChange } from "../health/health_checker.ts";
import type { ResolvedSlowStart, SlowStartOptions } from "../health/slow_start.ts";
import type { CompiledKey, KeySpec } from "../limiter/key_spec.ts";
import type { Server } from "../upstream/server.ts";
import type { DiscoveryOptions, FindServers, ResolvedDiscovery } from "./discovery_options.ts";
import type { RequestContext } from "../filter/request_context.ts";

/**
 * Chooses one of the servers that may be used, which are never none. Nothing, or a server that is not among them,
 * means that the request gets no server (503).
 *
 * `ctx.state` is unknown here: a function above `newContext` would settle its type before it is known.
 */
export type ChoosePoolServer = (
  candidates: readonly Server[],
  request: Request,
  ctx: RequestContext,
) => Server | undefined | void;

/** How a pool chooses among its servers, and how it knows which of them work. */
export interface BalancingOptions {
  /**
   * How servers are chosen, by name or by a function; `"consistent-hash"` and `"fnv-hash"` need a
   * {@linkcode BalancingOptions.key}. @default {"round-robin"}
   */
  balance?: BalanceName | ChoosePoolServer;
  /** What is hashed: the same keys as a limiter's. Requests without it go to the servers in turn. */
  key?: KeySpec<RequestContext>;
  /**
   * For `"consistent-hash"`: how many times its share a server may have in flight before the next one on the ring
   * takes over; above 1. @default {Infinity}
   */
  loadFactor?: number;
  /** Active checks, or a function that is one; without it every server counts as healthy. */
  healthCheck?: ActiveCheckOptions | CheckServer;
  /** When servers are left alone because requests to them fail; `false` is never. @default {{}} */
  ejection?: EjectionOptions | false;
  /** How servers that were added or have recovered are started; without it at once. */
  slowStart?: SlowStartOptions;
  /** When less than this share of the servers is up all are used; 0 is never. @default {0} */
  panicThreshold?: number;
  /** How many requests may run at all servers together. @default {Infinity} */
  maxInFlight?: number;
  /** Where requests wait while servers are full; without it they are refused at once (503). */
  queue?: QueueOptions;
  /** Where servers are found while the proxy runs, beside or in place of `servers`. */
  discovery?: DiscoveryOptions | FindServers;
  /** Called once each time a check finds that a server went down or came up. */
  onHealthChange?: HealthChange;
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
