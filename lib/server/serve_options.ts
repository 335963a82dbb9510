/** What a proxy takes beside its configuration. */

import type { ResolvedConfig } from "../config/proxy_config.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { type Random, systemRandom } from "../core/random.ts";
import type { AccessLog } from "../observe/access_log.ts";
import { GuardedObserver, type Observer, silentObserver } from "../observe/observer.ts";

/** What {@linkcode serve} and {@linkcode createHandler} take beside the configuration. */
export interface ServeOptions {
  /** Receives events and access-log entries. @default {none} */
  observer?: Observer;
  /** Time. @default {the machine's} */
  clock?: Clock;
  /** Randomness. @default {Math.random} */
  random?: Random;
}

/** Where the configuration of a program is read again. */
export interface ConfigSource {
  /** SHA-256 of what was read first. */
  readonly hash: string;
  /**
   * Reads it again.
   *
   * @throws {ConfigError} when it cannot be used
   */
  load(): Promise<{ config: ResolvedConfig; hash: string; notReloaded: readonly string[] }>;
}

/** The same, complete: below this folder time and randomness are arguments. */
export interface ProxyParts extends Required<ServeOptions> {
  /** `null` where the configuration was given by a program. @default {null} */
  readonly source?: ConfigSource | null;
  /** The log of requests where the configuration says nothing of one. @default {null} */
  readonly accessLog?: AccessLog | null;
}

/** Completes the options of a program; what its observer throws ends no request. */
export function completeOptions(
  { observer, clock = systemClock, random = systemRandom }: ServeOptions,
): ProxyParts {
  return {
    observer: observer === undefined ? silentObserver : new GuardedObserver(observer),
    clock,
    random,
  };
}
