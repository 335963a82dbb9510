/** Checks one server again and again, and decides whether it is up or down. */

import type { Timers } from "../core/clock.ts";
import { messageOf } from "../core/callback.ts";
import { formatDuration } from "../core/units.ts";
import { resourceShortage } from "../core/resource_shortage.ts";
import type { Health, Server } from "../upstream/server.ts";
import type { Probe } from "./probe.ts";

/** The result of a check; `impossible` when this machine had no descriptor, port or memory for it. */
export type CheckResult = NonNullable<LastCheck["result"]>;

/** What a check found, and when. */
export interface LastCheck {
  /** What it found. */
  readonly result:
    | {
      /** It passed. */
      readonly kind: "passed";
    }
    | {
      /** It failed, or could not be made. */
      readonly kind: "failed" | "impossible";
      /** Why. */
      readonly reason: string;
    };
  /** When it began, in the clock's milliseconds. */
  readonly startedAt: number;
  /** How long it took. */
  readonly durationMs: number;
}

/** The checks of one server: the next one, or the one that runs, and what they found. */
export class ServerCheck implements Disposable {
  readonly server: Server;
  readonly state: HealthState;
  /** When the last check began, in the clock's milliseconds. */
  startedAt = 0;
  /** What the last check that has ended found; `null` before the first. */
  last: LastCheck | null = null;
  readonly #timers: Timers;
  #timer: Disposable | null = null;
  #controller: AbortController | null = null;
  /** The last probe until it ends, which may be after its time is over. */
  #probing: Promise<void> | null = null;

  constructor(server: Server, state: HealthState, timers: Timers) {
    this.server = server;
    this.state = state;
    this.#timers = timers;
  }

  /** Whether a check runs and its time is not over. */
  get running(): boolean {
    return this.#controller !== null;
  }

  /** Fulfilled when no probe runs. */
  get idle(): Promise<void> {
    return this.#probing ?? Promise.resolve();
  }

  /** Calls back after a delay; replaces what was scheduled before. */
  schedule(callback: () => void, delayMs: number): void {
    this.#clearTimer();
    this.#timer = this.#timers.setTimer(callback, delayMs);
  }

  /**
   * Calls the probe, and `done` once with the result, at the latest after `timeoutMs`.
   *
   * While a probe that ignores its signal still runs, no second one is called: the check times out at once.
   */
  run(probe: Probe, timeoutMs: number, done: (result: CheckResult) => void): void {
    const timedOut = { kind: "failed", reason: `timed out after ${formatDuration(timeoutMs)}` } as const;
    if (this.#probing !== null) return done(timedOut);
    const controller = this.#controller = new AbortController();
    const settle = (result: CheckResult) => {
      if (this.#controller !== controller) return;
      this.#controller = null;
      this.#clearTimer();
      done(result);
    };
    this.schedule(() => {
      settle(timedOut);
      controller.abort(new DOMException(timedOut.reason, "TimeoutError"));
    }, timeoutMs);
    this.#probing = call(probe, this.server, controller.signal).then(settle).finally(() =>
      this.#probing = null
    );
  }

  /** Cancels what is scheduled and what runs. */
  [Symbol.dispose](): void {
    this.#clearTimer();
    const controller = this.#controller;
    this.#controller = null;
    controller?.abort(new DOMException("The check was called off", "AbortError"));
  }

  #clearTimer(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
  }
}

async function call(probe: Probe, server: Server, signal: AbortSignal): Promise<CheckResult> {
  try {
    await probe(server, signal);
    return { kind: "passed" };
  } catch (error) {
    const shortage = resourceShortage(error);
    if (shortage !== null) return { kind: "impossible", reason: shortage };
    return { kind: "failed", reason: messageOf(error) };
  }
}

/** How many results in a row change the health of a server. */
interface HealthThresholds {
  /** Passes in a row that take a server from down to up. */
  readonly rise: number;
  /** Failures in a row that take a server from up to down. */
  readonly fall: number;
}

/**
 * Decides the health of a server by counting results in a row that contradict it.
 *
 * A result that agrees resets the count: failures once a day never take a server down. The first result of a server that
 * was not checked before decides alone.
 */
export class HealthState {
  readonly #thresholds: HealthThresholds;
  #health: Health;
  #against: number;

  /** @param against how many results in a row contradict the health already */
  constructor(thresholds: HealthThresholds, initial: Health = "checking", against = 0) {
    this.#thresholds = thresholds;
    this.#health = initial;
    this.#against = against;
  }

  /** How many results in a row contradict the health. */
  get against(): number {
    return this.#against;
  }

  /** The health by the results so far. */
  get health(): Health {
    return this.#health;
  }

  /** Takes in a result; returns whether it has changed the health. */
  observe(passed: boolean): boolean {
    const seen = passed ? "up" : "down";
    if (seen === this.#health) {
      this.#against = 0;
      return false;
    }
    this.#against++;
    const { rise, fall } = this.#thresholds;
    if (this.#health !== "checking" && this.#against < (passed ? rise : fall)) return false;
    this.#health = seen;
    this.#against = 0;
    return true;
  }
}
