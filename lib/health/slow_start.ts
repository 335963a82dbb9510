/** Little at first for servers that have just come up. */

import type { Clock } from "../core/clock.ts";
import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/duration.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";

/** How servers are started slowly. */
export interface SlowStartOptions {
  /** Time until a server gets its full share. */
  duration: Duration;
  /** Share that it gets at once, 0 to 1. @default {0.1} */
  floor?: number;
}

/** How servers are started slowly, complete. */
export interface ResolvedSlowStart {
  readonly durationMs: number;
  readonly floor: number;
}

/** In how many steps the share grows; each one makes those that choose look again. */
const STEPS = 20;

/**
 * Completes the options.
 *
 * @throws {TypeError} when the duration cannot be read
 * @throws {RangeError} when the floor is no share
 */
export function resolveSlowStart({ duration, floor = 0.1 }: SlowStartOptions): ResolvedSlowStart {
  const durationMs = parseDuration(duration);
  if (durationMs === undefined || durationMs === 0) {
    throw new TypeError(
      `Cannot resolve slow start: "duration" must be ${DURATION_EXPECTED}, received ${
        JSON.stringify(duration)
      }`,
    );
  }
  if (!(floor > 0 && floor <= 1)) {
    throw new RangeError(
      `Cannot resolve slow start: "floor" must be above 0 and at most 1, received ${floor}`,
    );
  }
  return Object.freeze({ durationMs, floor });
}

/**
 * Lets the weight of a server grow evenly from the floor to all of it, after it was added to a running pool or has
 * recovered. Servers that are there from the beginning start with all: somebody has to do the work.
 *
 * Hashing algorithms and `first` take no notice, since their servers are not exchangeable.
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

  /** Starts a server slowly from now on, also one that is being started already. */
  begin(server: Server): void {
    this.#startedAt.set(server, this.#clock.now());
    server.setRamp(this.#options.floor);
    this.#timer ??= this.#arm();
  }

  #arm(): Disposable {
    return this.#clock.setTimer(() => this.#step(), this.#options.durationMs / STEPS);
  }

  #step(): void {
    const { durationMs, floor } = this.#options;
    const now = this.#clock.now();
    for (const [server, startedAt] of this.#startedAt) {
      // Rounded, or a timer that is a hair early would cost a whole step.
      const share = Math.round((now - startedAt) / durationMs * STEPS) / STEPS;
      server.setRamp(Math.min(1, Math.max(floor, share)));
      if (share >= 1) this.#startedAt.delete(server);
    }
    this.#timer = this.#startedAt.size > 0 ? this.#arm() : null;
  }

  /** Gives every server that is being started its full share now. */
  finish(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    for (const server of this.#startedAt.keys()) server.setRamp(1);
    this.#startedAt.clear();
  }

  /** Gives every server its full share. */
  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    this.finish();
  }
}
