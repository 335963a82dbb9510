/** What a load balancer is made of. */

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
import type { ResolvedSticky, StickyOptions } from "./sticky_options.ts";
import type { QueueOptions, ResolvedQueue } from "./waiting_line.ts";

/**
 * What is called when something about servers changes. Nobody waits for them; what one throws, or rejects with, is told on
 * `stderr`, and nothing else.
 */
export interface LoadBalancerHooks {
  /** Called once each time an active check finds that a server went down or came up. */
  onHealthChange?: HealthChange;
  /**
   * Called when checks cannot be made because this machine has no descriptor, port or memory for them; once, until a
   * check gets through again. The servers count as before.
   */
  onCheckImpossible?: CheckImpossible;
  /** Called when a server is taken out because requests to it fail, and when it is let in again. */
  onEjection?: EjectionChange;
  /** Called when so few servers are up that all are used, and when that is over. */
  onPanic?: (panic: boolean) => void;
  /** Called with what a {@linkcode Balance} function threw. @default {a line on `stderr`} */
  onBalanceError?: (error: unknown) => void;
}

/** What {@linkcode LoadBalancer.from} takes beside the servers. */
export interface LoadBalancerOptions extends LoadBalancerHooks {
  /** How to choose. @default {"round-robin"} */
  balance?: Balance;
  /** For `"consistent-hash"`: how many times its share a server may have in flight; above 1. @default {Infinity} */
  loadFactor?: number;
  /** Ties clients to servers by a cookie; without it nobody is tied. */
  sticky?: StickyOptions;
  /** Active checks, begun by `startHealthChecks`; without them every server is healthy. */
  healthCheck?: ActiveCheckOptions;
  /** When servers are left alone because requests to them fail; `false` is never. @default {{}} */
  ejection?: EjectionOptions | false;
  /** How servers that were added or have recovered are started; without it at once. */
  slowStart?: SlowStartOptions;
  /** When less than this share of the servers is up all are used; 0 is never, 1 is always. @default {0} */
  panicThreshold?: number;
  /** How many requests may run at all servers together. @default {Infinity} */
  maxInFlight?: number;
  /** Where requests wait while servers are full; without it they are refused at once. */
  queue?: QueueOptions;
}

/** What a {@linkcode LoadBalancer} is made of, complete. */
export interface LoadBalancerInit extends LoadBalancerHooks {
  pool: Pool;
  balance?: Balance;
  loadFactor?: number;
  sticky?: ResolvedSticky | null;
  healthCheck?: ResolvedHealthCheck | null;
  /** `undefined` is ejection with its defaults, `null` is none. */
  ejection?: ResolvedEjection | null;
  slowStart?: ResolvedSlowStart | null;
  panicThreshold?: number;
  maxInFlight?: number;
  queue?: ResolvedQueue | null;
  /** Looks at one server in place of what belongs to {@linkcode healthCheck}. */
  probe?: Probe;
  clock?: Clock;
  random?: Random;
}
