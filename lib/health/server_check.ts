/** Repeated checks of one server, and the decision whether it is up or down. */

import type { Timers } from "../core/clock.ts";
import { messageOf } from "../core/callback.ts";
import { formatDuration } from "../core/units.ts";
import { resourceShortage } from "../core/resource_shortage.ts";
import type { Health, Server } from "../upstream/server.ts";
import type { Probe } from "./probe.ts";

/** The result of a check; `impossible` when this machine had no descriptor, port or memory for it. */
export type CheckResult = NonNullable<LastCheck["result"]>;

/** The result and the time of a check. */
export interface LastCheck {
  /** The result. */
  readonly result:
    | {
      /** The check passed. */
      readonly kind: "passed";
    }
    | {
      /** The check failed, or could not run. */
      readonly kind: "failed" | "impossible";
      /** The reason. */
      readonly reason: string;
    };
  /** When it began, in milliseconds of the clock. */
  readonly startedAt: number;
  /** How long it took, in milliseconds. */
  readonly durationMs: number;
}

/** The checks of one server: the scheduled or running one, and the last result. */
export class ServerCheck implements Disposable {
  readonly server: Server;
  readonly state: HealthState;
  /** When the last check began, in milliseconds of the clock. */
  startedAt = 0;
  /** The last check that has ended; `null` before the first. */
  last: LastCheck | null = null;
  readonly #timers: Timers;
  #timer: Disposable | null = null;
  #controller: AbortController | null = null;
  /** The running probe; it may still run after its timeout. */
  #probing: Promise<void> | null = null;

  constructor(server: Server, state: HealthState, timers: Timers) {
    this.server = server;
    this.state = state;
    this.#timers = timers;
  }

  /** Whether a check is running and has not timed out. */
  get running(): boolean {
    return this.#controller !== null;
  }

  /** Resolves when no probe runs. */
  get idle(): Promise<void> {
    return this.#probing ?? Promise.resolve();
  }

  /** Calls back after a delay; replaces the previous schedule. */
  schedule(callback: () => void, delayMs: number): void {
    this.#clearTimer();
    this.#timer = this.#timers.setTimer(callback, delayMs);
  }

  /**
   * Calls the probe, and then `done` once with the result, at the latest after `timeoutMs`.
   *
   * If an earlier probe that ignores its signal is still running, no second one is started: the check times out at once.
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

  /** Cancels the scheduled and the running check. */
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

/** Numbers of results in a row that change the health of a server. */
interface HealthThresholds {
  /** Passes in a row that take a server from down to up. */
  readonly rise: number;
  /** Failures in a row that take a server from up to down. */
  readonly fall: number;
}

/**
 * Decides the health of a server by counting results in a row that contradict it.
 *
 * A result that agrees resets the count, so that single failures do not add up. The first result of a server in state
 * `"checking"` decides alone.
 */
export class HealthState {
  readonly #thresholds: HealthThresholds;
  #health: Health;
  #against: number;

  /** @param against number of results in a row that already contradict the health */
  constructor(thresholds: HealthThresholds, initial: Health = "checking", against = 0) {
    this.#thresholds = thresholds;
    this.#health = initial;
    this.#against = against;
  }

  /** Number of results in a row that contradict the health. */
  get against(): number {
    return this.#against;
  }

  /** The health according to the results so far. */
  get health(): Health {
    return this.#health;
  }

  /** Applies a result; returns whether the health has changed. */
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
