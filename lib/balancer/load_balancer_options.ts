/** The options of a load balancer. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { EjectionChange } from "../health/ejection.ts";
import type { EjectionOptions, ResolvedEjection } from "../health/ejection_options.ts";
import type { ActiveCheckOptions, ResolvedHealthCheck } from "../health/health_check_options.ts";
import type { CheckImpossible, HealthChange } from "../health/health_checker.ts";
import type { Probe } from "../health/probe.ts";
import type { ResolvedSlowStart, SlowStartOptions } from "../health/slow_start.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Balance } from "./create_algorithm.ts";
import type { ResolvedSticky, StickyOptions } from "./sticky_sessions.ts";
import type { QueueOptions, ResolvedQueue } from "./waiting_line.ts";

/**
 * Functions that are called when a server changes. The load balancer does not wait for them; an error of one is written
 * to `stderr` and changes nothing.
 */
export interface LoadBalancerHooks {
  /** Called each time active checks find that a server went down or came up. */
  onHealthChange?: HealthChange;
  /**
   * Called when this machine has no descriptor, port or memory for a check; once, until a check can be made again. The
   * servers keep their health.
   */
  onCheckImpossible?: CheckImpossible;
  /** Called when a server is ejected because requests to it fail, and when its ejection ends. */
  onEjection?: EjectionChange;
  /** Called when panic begins (so few servers are up that all are used) and when it ends. */
  onPanic?: (panic: boolean) => void;
  /** Called with what a {@linkcode Balance} function threw. @default {a line on `stderr`} */
  onBalanceError?: (error: unknown) => void;
}

/** Options of {@linkcode LoadBalancer.from}. */
export interface LoadBalancerOptions extends LoadBalancerHooks {
  /** How to choose a server. @default {"round-robin"} */
  balance?: Balance;
  /** For `"consistent-hash"`: how many times its share a server may have in flight; above 1. @default {Infinity} */
  loadFactor?: number;
  /** Ties clients to servers by a cookie. @default {none} */
  sticky?: StickyOptions;
  /** Active checks, started by `startHealthChecks`; without them every server is healthy. */
  healthCheck?: ActiveCheckOptions;
  /** When servers are ejected because requests to them fail; `false` is never. @default {{}} */
  ejection?: EjectionOptions | false;
  /** Ramps the weight of servers that were added or have recovered; without it they get their full weight at once. */
  slowStart?: SlowStartOptions;
  /** Share of servers that must be up; below it all are used. 0 is never. @default {0} */
  panicThreshold?: number;
  /** Most requests in flight at all servers together. @default {Infinity} */
  maxInFlight?: number;
  /** Where requests wait while all servers are full; without it they are refused at once. */
  queue?: QueueOptions;
}

/** What a {@linkcode LoadBalancer} is made of, with resolved options. */
export interface LoadBalancerInit extends LoadBalancerHooks {
  pool: Pool;
  balance?: Balance;
  loadFactor?: number;
  sticky?: ResolvedSticky | null;
  healthCheck?: ResolvedHealthCheck | null;
  /** `undefined` is ejection with its defaults, `null` is no ejection. */
  ejection?: ResolvedEjection | null;
  slowStart?: ResolvedSlowStart | null;
  panicThreshold?: number;
  maxInFlight?: number;
  queue?: ResolvedQueue | null;
  /** Checks a server instead of the probe of {@linkcode healthCheck}. */
  probe?: Probe;
  /** Whether a supervisor checks the servers. @default {false} */
  worker?: boolean;
  clock?: Clock;
  random?: Random;
}
