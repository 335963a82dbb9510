/** Servers whose requests fail are left alone for a while. */

import type { Clock } from "../core/clock.ts";
import { formatDuration } from "../core/duration.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Outcome, Server } from "../upstream/server.ts";
import type { ResolvedEjection } from "./ejection_options.ts";
import { FailureWindow } from "./failure_window.ts";

/** Told when a server was taken out, with why and for how long, and when it is let in again. */
export type EjectionChange = (server: Server, ejected: boolean, reason: string) => void;

/** What a {@linkcode Ejection} is made of. */
export interface EjectionInit {
  pool: Pool;
  options: ResolvedEjection;
  clock: Clock;
  onChange?: EjectionChange;
}

/** What is known of a server. */
interface History {
  readonly window: FailureWindow;
  /** How often it was ejected, less what it has lived down since. */
  times: number;
  /** When it was let in last. */
  restoredAt: number;
  timer: Disposable | null;
}

/**
 * Takes a server out when requests to it fail in a row or too often, each time for longer; never the last one that
 * could serve, and never more than a part of the pool. While a server stays in, each base time lives down one ejection.
 */
export class Ejection implements Disposable {
  readonly #init: EjectionInit;
  readonly #records = new Map<Server, History>();
  readonly #subscription: Disposable;

  constructor(init: EjectionInit) {
    this.#init = init;
    this.#subscription = init.pool.subscribe({ onLeaving: (server) => this.#forget(server) });
  }

  /** Takes in how a request ended; the server has counted it already. */
  record(server: Server, outcome: Outcome): void {
    if (outcome === "ignored" || server.ejected || server.draining) return;
    const { options, clock } = this.#init;
    const { window } = this.#recordOf(server);
    window.record(outcome === "failure", clock.now());
    if (outcome === "success") return;
    if (server.consecutiveFailures >= options.consecutiveFailures) {
      this.#eject(server, `${server.consecutiveFailures} requests failed in a row`);
    } else if (
      window.requests >= options.minRequests && window.failures / window.requests >= options.failureRate
    ) {
      const percent = Math.round(100 * window.failures / window.requests);
      this.#eject(server, `${percent}% of ${window.requests} requests failed`);
    }
  }

  /** Lets a server in again before its time, as when an active check has passed. */
  restore(server: Server): void {
    if (!server.ejected) return;
    const record = this.#recordOf(server);
    record.timer?.[Symbol.dispose]();
    record.timer = null;
    record.restoredAt = this.#init.clock.now();
    record.window.clear();
    server.setEjected(false);
    this.#init.onChange?.(server, false, "");
  }

  #eject(server: Server, reason: string): void {
    if (!this.#mayEject(server)) return;
    const { options, clock, onChange } = this.#init;
    const record = this.#recordOf(server);
    const livedDown = Math.floor((clock.now() - record.restoredAt) / options.baseMs);
    record.times = Math.max(0, record.times - livedDown) + 1;
    const ms = Math.min(options.baseMs * record.times, options.maxMs);
    record.timer = clock.setTimer(() => this.restore(server), ms);
    server.setEjected(true);
    onChange?.(server, true, `${reason}, out for ${formatDuration(ms)}`);
  }

  #mayEject(server: Server): boolean {
    const { pool: { servers }, options } = this.#init;
    const most = Math.max(1, Math.floor(servers.length * options.maxEjectedPercent / 100));
    const ejected = servers.reduce((count, other) => count + (other.ejected ? 1 : 0), 0);
    if (ejected >= most) return false;
    return servers.some((other) => other !== server && other.available && other.weight > 0);
  }

  #recordOf(server: Server): History {
    let record = this.#records.get(server);
    if (record === undefined) {
      const window = new FailureWindow(this.#init.options.windowMs);
      record = { window, times: 0, restoredAt: -Infinity, timer: null };
      this.#records.set(server, record);
    }
    return record;
  }

  #forget(server: Server): void {
    this.#records.get(server)?.timer?.[Symbol.dispose]();
    this.#records.delete(server);
  }

  /** Lets every server in again. */
  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    for (const [server, { timer }] of this.#records) {
      timer?.[Symbol.dispose]();
      server.setEjected(false);
    }
    this.#records.clear();
  }
}
