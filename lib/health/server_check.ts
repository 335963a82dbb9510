/** The repeated check of one server. */

import type { Timers } from "../core/clock.ts";
import { messageOf } from "../core/callback.ts";
import { formatDuration } from "../core/duration.ts";
import { resourceShortage } from "../core/resource_shortage.ts";
import type { Server } from "../upstream/server.ts";
import type { Probe } from "./probe.ts";

/** How one check went; `impossible` is one that this machine had no descriptor, port or memory for. */
export type CheckResult =
  | { readonly kind: "passed" }
  | { readonly kind: "failed" | "impossible"; readonly reason: string };

/** One server under observation: its next check, or the one that runs. */
export class ServerCheck implements Disposable {
  readonly server: Server;
  readonly #timers: Timers;
  #timer: Disposable | null = null;
  #controller: AbortController | null = null;
  /** The probe that was called last, also when its time is up and it has not noticed. */
  #probing: Promise<void> | null = null;

  constructor(server: Server, timers: Timers) {
    this.server = server;
    this.#timers = timers;
  }

  /** Whether a check runs whose result is wanted. */
  get running(): boolean {
    return this.#controller !== null;
  }

  /** Settled when the probe has let go. */
  get idle(): Promise<void> {
    return this.#probing ?? Promise.resolve();
  }

  /** Calls back after a while, in place of what was scheduled before. */
  schedule(callback: () => void, delayMs: number): void {
    this.#clearTimer();
    this.#timer = this.#timers.setTimer(callback, delayMs);
  }

  /**
   * Calls the probe and hands over the result once, after `timeoutMs` at the latest.
   *
   * While a probe that ignores its signal is still busy, no second one is called: its time is up at once.
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

  /** Calls off what is scheduled and what runs. */
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
