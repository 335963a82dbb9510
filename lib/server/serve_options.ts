/** What a proxy takes beside its configuration. */

import { type Clock, systemClock } from "../core/clock.ts";
import { type Random, systemRandom } from "../core/random.ts";
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

/** The same, complete: below this folder time and randomness are arguments. */
export type ProxyParts = Required<ServeOptions>;

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
