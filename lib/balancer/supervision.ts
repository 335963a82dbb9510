/** Everything that decides whether a server is fit to be chosen: active checks, ejection and slow start together. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { Ejection } from "../health/ejection.ts";
import { resolveEjection } from "../health/ejection_options.ts";
import { HealthChecker } from "../health/health_checker.ts";
import { SlowStart } from "../health/slow_start.ts";
import type { Outcome, Server, Stage } from "../upstream/server.ts";
import type { LoadBalancerInit } from "./load_balancer_options.ts";

/** What {@linkcode Supervision} is made of. */
export interface SupervisionInit extends LoadBalancerInit {
  clock: Clock;
  random: Random;
  /** Called when nothing more is to be expected of servers that were looked at. */
  onLooked?: () => void;
}

/**
 * Wires what watches servers together: a server that comes up or has recovered from its ejection starts slowly, and
 * a check that tries what failed ends an ejection.
 */
export class Supervision implements Disposable, AsyncDisposable {
  readonly #slowStart: SlowStart | null;
  readonly #ejection: Ejection | null;
  readonly #checker: HealthChecker | null;

  constructor(init: SupervisionInit) {
    const { pool, clock, slowStart = null, ejection = resolveEjection() } = init;
    this.#slowStart = slowStart === null ? null : new SlowStart(pool, slowStart, clock);
    this.#ejection = ejection === null ? null : new Ejection({
      pool,
      options: ejection,
      clock,
      onChange: (server, ejected, reason) => {
        const { onEjection } = init;
        if (onEjection === undefined) return;
        callAside(
          () => onEjection(server, ejected, reason),
          (error) => tellStrayError("onEjection", error),
        );
      },
      onRestored: (server) => this.#slowStart?.begin(server),
    });
    this.#checker = this.#createChecker(init);
  }

  /** Begins with the checks; the first round is over when the promise is fulfilled. */
  start(): Promise<void> {
    return this.#checker?.firstRound() ?? Promise.resolve();
  }

  /** Gives every server that is being started its full share now. */
  endSlowStarts(): void {
    this.#slowStart?.finish();
  }

  /** Takes in how a request ended and how far it got. */
  record(server: Server, outcome: Outcome, latencyMs: number, stage: Stage): void {
    this.#ejection?.record(server, outcome, latencyMs, stage);
  }

  /** The server to try although it is ejected; `"busy"` when all that are have a request that tries them. */
  lastResort(exclude: readonly Server[]): Server | "busy" | null {
    return this.#ejection === null ? null : this.#ejection.lastResort(exclude);
  }

  /**
   * Whether it is worth waiting for a server that is down to come up.
   *
   * @param look has such servers checked now
   */
  mayComeUp(exclude: readonly Server[], look: boolean): boolean {
    const checker = this.#checker;
    if (checker === null) return false;
    return look ? checker.lookAgain(exclude) : checker.mayComeUp(exclude);
  }

  #createChecker(init: SupervisionInit): HealthChecker | null {
    const { pool, clock, random, healthCheck: check = null, onHealthChange, onCheckImpossible } = init;
    if (check === null) return null;
    return new HealthChecker({
      pool,
      check,
      ...(init.probe === undefined ? {} : { probe: init.probe }),
      clock,
      random,
      onResult: (server, passed) => {
        if (passed) this.#ejection?.checkPassed(server, check.reach);
        else this.#ejection?.checkFailed(server);
      },
      ...(onCheckImpossible === undefined ? {} : { onImpossible: onCheckImpossible }),
      ...(init.onLooked === undefined ? {} : { onLooked: init.onLooked }),
      onChange: (server, healthy, reason) => {
        if (healthy) this.#slowStart?.begin(server);
        return onHealthChange?.(server, healthy, reason);
      },
    });
  }

  [Symbol.dispose](): void {
    this.#checker?.[Symbol.dispose]();
    this.#ejection?.[Symbol.dispose]();
    this.#slowStart?.[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.#checker?.[Symbol.asyncDispose]();
  }
}
