/** The options of a load balancer. */

import type { Server } from "../upstream/server.ts";
import {
  FUNCTION,
  number,
  object,
  orFalse,
  type Rule,
  type Rules,
  SHARE,
  wholeOrInfinity,
  wordOrFunction,
} from "../core/options.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { EJECTION, type EjectionOptions, type ResolvedEjection } from "../health/ejection_options.ts";
import {
  type ActiveCheckOptions,
  HEALTH_CHECK,
  type ResolvedHealthCheck,
} from "../health/health_check_options.ts";
import type { Probe } from "../health/probe.ts";
import { type ResolvedSlowStart, SLOW_START, type SlowStartOptions } from "../health/slow_start.ts";
import type { Pool } from "../upstream/pool.ts";
import { BALANCE_NAMES, type BalanceName } from "./create_algorithm.ts";
import { type ResolvedSticky, STICKY, type StickyOptions } from "./sticky_sessions.ts";
import { QUEUE, type QueueOptions, type ResolvedQueue } from "./waiting_line.ts";

/** Options of {@linkcode LoadBalancer.from}. */
export interface LoadBalancerOptions {
  /**
   * Called when active checks find that a server became unhealthy or healthy; `reason` says why it is unhealthy.
   *
   * @default {none}
   */
  onHealthChange?: (server: Server, healthy: boolean, reason: string) => void;
  /**
   * Called when this machine has no descriptor, port or memory for a check; once, until a check is possible again. The
   * servers keep their health.
   *
   * @default {none}
   */
  onCheckImpossible?: (server: Server, reason: string) => void;
  /** Called when a server is ejected because requests to it fail, and when its ejection ends. @default {none} */
  onEjection?: (server: Server, ejected: boolean, reason: string) => void;
  /** Called when panic begins (so few servers are up that all are used) and when it ends. @default {none} */
  onPanic?: (panic: boolean) => void;
  /** Called with an error of a `balance` function. @default {a line on `stderr`} */
  onBalanceError?: (error: unknown) => void;
  /** How to choose a server. @default {"round-robin"} */
  balance?: BalanceName | ((servers: readonly Server[], source: unknown) => Server | undefined | void);
  /** For `"consistent-hash"`: most requests in flight of a server, as a multiple of its share; above 1. @default {Infinity} */
  loadFactor?: number;
  /** Sticky sessions, which keep each client at its server by a cookie. @default {none} */
  sticky?: StickyOptions;
  /** Active checks, started by `startHealthChecks`; without them every server is healthy. @default {none} */
  healthCheck?: ActiveCheckOptions | ((server: Server, signal: AbortSignal) => Promise<boolean | void>);
  /** Ejection of servers whose requests fail; `false` turns it off. @default {{}} */
  ejection?: EjectionOptions | false;
  /** Slow start of servers that were added or have recovered; without it they get their full weight at once. @default {none} */
  slowStart?: SlowStartOptions;
  /** Share of servers that must be up; below it, all are used. 0 is never. @default {0} */
  panicThreshold?: number;
  /** Most requests in flight at all servers together. @default {Infinity} */
  maxInFlight?: number;
  /** The queue for requests while all servers are full; without it they are refused at once. @default {none} */
  queue?: QueueOptions;
}

/** Rules of options that pools of a configuration have too. */
export const LOAD_BALANCER_RULES = {
  balance: wordOrFunction(BALANCE_NAMES),
  loadFactor: number("a number above 1", (value) => value > 1),
  healthCheck: HEALTH_CHECK,
  ejection: orFalse(EJECTION),
  slowStart: SLOW_START,
  panicThreshold: SHARE,
  maxInFlight: wholeOrInfinity(1),
  queue: QUEUE,
  onHealthChange: FUNCTION,
} satisfies Partial<Rules<LoadBalancerOptions>>;

/** Validates {@linkcode LoadBalancerOptions}. */
export const LOAD_BALANCER: Rule = object<LoadBalancerOptions>({
  ...LOAD_BALANCER_RULES,
  sticky: STICKY,
  onCheckImpossible: FUNCTION,
  onEjection: FUNCTION,
  onPanic: FUNCTION,
  onBalanceError: FUNCTION,
}, "an object with options of a load balancer");

/**
 * Functions that are called when a server changes. The load balancer does not wait for them. Their errors are written to
 * `stderr` and have no other effect.
 */
export type LoadBalancerHooks = Pick<
  LoadBalancerOptions,
  "onHealthChange" | "onCheckImpossible" | "onEjection" | "onPanic" | "onBalanceError"
>;

/** Resolved options of {@linkcode LoadBalancer}. */
export interface LoadBalancerInit extends LoadBalancerHooks {
  pool: Pool;
  balance?: LoadBalancerOptions["balance"];
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
