/** Ramps a server's weight after it is added or recovers. */

import { DURATION_ABOVE_0, object, required, type Rule, SHARE_ABOVE_0 } from "../core/options.ts";
import type { Clock } from "../core/clock.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";

/**
 * Options of slow start.
 *
 * @example Give a recovered server its full share after half a minute
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: { servers: ["127.0.0.1:9001", "127.0.0.1:9002"], slowStart: { duration: "30s" } },
 * });
 * ```
 */
export interface SlowStartOptions {
  /** Time until a server has its full weight. */
  duration: Duration;
  /** Share of its weight at the start, 0 to 1. @default {0.1} */
  floor?: number;
}

/** {@linkcode SlowStartOptions} with all defaults. */
export interface ResolvedSlowStart {
  readonly durationMs: number;
  readonly floor: number;
}

/** Number of steps to the full weight; each one makes algorithms rebuild their lists of candidates. */
const STEPS = 20;

/** Validates {@linkcode SlowStartOptions}. */
export const SLOW_START: Rule = object<SlowStartOptions>({
  duration: required(DURATION_ABOVE_0),
  floor: SHARE_ABOVE_0,
}, 'an object with a "duration"');

/** Adds the defaults to valid options. */
export function resolveSlowStart({ duration, floor = 0.1 }: SlowStartOptions): ResolvedSlowStart {
  return Object.freeze({ durationMs: parseDuration(duration)!, floor });
}

/**
 * Raises the weight of a server linearly from the floor to its full weight after the server was added to a running pool or
 * has recovered. Servers of a new pool have their full weight at once, because they must take the whole load.
 *
 * Hashing algorithms and `first` ignore it, because their servers are not interchangeable.
 */
export class SlowStart implements Disposable {
  readonly #options: ResolvedSlowStart;
  readonly #clock: Clock;
  readonly #startedAt = new Map<Server, number>();
  readonly #subscription: Disposable;
  #timer: Disposable | null = null;

  constructor(pool: Pool, options: ResolvedSlowStart, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    this.#subscription = pool.subscribe({
      onAdded: (server) => this.begin(server),
      onLeaving: (server) => void this.#startedAt.delete(server),
    });
  }

  /** Starts the ramp of a server, or restarts it. */
  begin(server: Server): void {
    this.#startedAt.set(server, this.#clock.now());
    server.setRamp(this.#options.floor);
    this.#timer ??= this.#arm();
  }

  /**
   * Continues the ramps of the former pool, and begins ramps for new servers if there are others.
   *
   * @param before loses these ramps; `null` if the former pool had no slow start
   */
  takeOver(before: SlowStart | null, adopted: readonly Server[], fresh: readonly Server[]): void {
    for (const server of before === null ? [] : adopted) {
      const startedAt = before!.#startedAt.get(server);
      if (startedAt === undefined) continue;
      before!.#startedAt.delete(server);
      this.#startedAt.set(server, startedAt);
    }
    // Without other servers, the new ones must take the whole load at once.
    if (adopted.length > 0) { for (const server of fresh) this.begin(server); }
    if (this.#startedAt.size > 0) this.#timer ??= this.#arm();
  }

  #arm(): Disposable {
    return this.#clock.setTimer(() => this.#step(), this.#options.durationMs / STEPS);
  }

  #step(): void {
    const { durationMs, floor } = this.#options;
    const now = this.#clock.now();
    for (const [server, startedAt] of this.#startedAt) {
      // Rounded: otherwise a timer that is slightly early would lose a whole step.
      const share = Math.round((now - startedAt) / durationMs * STEPS) / STEPS;
      server.setRamp(Math.min(1, Math.max(floor, share)));
      if (share >= 1) this.#startedAt.delete(server);
    }
    this.#timer = this.#startedAt.size > 0 ? this.#arm() : null;
  }

  /** Ends all ramps: every server has its full weight now. */
  finish(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    for (const server of this.#startedAt.keys()) server.setRamp(1);
    this.#startedAt.clear();
  }

  /** Ends all ramps, and does not begin new ones. */
  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    this.finish();
  }
}
