/** The queue of requests that wait for a server. */

import { DURATION_ABOVE_0, object, type Rule, whole } from "../core/options.ts";
import type { Cancellation, Lease } from "../core/cancellation.ts";
import type { Clock } from "../core/clock.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import type { Server } from "../upstream/server.ts";
import type { SharedCells } from "../upstream/shared_servers.ts";

/**
 * How many requests may wait while all servers are full, and for how long.
 *
 * @example Let requests wait while all servers are full
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     servers: [{ address: "127.0.0.1:9001", maxInFlight: 10 }],
 *     queue: { size: 50, timeout: "1s" },
 *   },
 * });
 * ```
 */
export interface QueueOptions {
  /** How many requests may wait; further ones are refused at once. @default {100} */
  size?: number;
  /** How long each request may wait. @default {"1s"} */
  timeout?: Duration;
}

/** {@linkcode QueueOptions} with all defaults. */
export interface ResolvedQueue {
  readonly size: number;
  readonly timeoutMs: number;
}

/** Validates {@linkcode QueueOptions}. */
export const QUEUE: Rule = object<QueueOptions>(
  { size: whole(1), timeout: DURATION_ABOVE_0 },
  'an object with "size" and "timeout"',
);

/** Adds the defaults to valid options. */
export function resolveQueue({ size = 100, timeout = "1s" }: QueueOptions): ResolvedQueue {
  return Object.freeze({ size, timeoutMs: parseDuration(timeout)! });
}

/** A server that a request was assigned to, and the lease that counts the request. */
export interface Claim {
  /** The server of the request. */
  readonly server: Server;
  /** Release it when the request has ended. */
  readonly lease: Lease;
}

/**
 * Why a request got no server: no server is eligible, the queue is full, the request waited too long, or it was cancelled
 * while it waited.
 */
export type Refusal = "none_eligible" | "queue_full" | "queue_timeout" | "cancelled";

/**
 * The result of one attempt to get a server. Waiting may help if servers are `full`, or `down` and being checked.
 */
export type ClaimAttempt = Claim | "none_eligible" | "full" | "down";

interface Waiter {
  readonly attempt: () => ClaimAttempt;
  /** Whether this request excludes servers, so that a later one may get a server first. */
  readonly isSelective: boolean;
  readonly resolve: (result: Claim | Refusal) => void;
  /** Listens for the cancellation of the request; `null` if it cannot be cancelled. */
  listener: Disposable | null;
  readonly dueAt: number;
}

/**
 * Serves waiting requests in order. All have the same timeout, so one timer for the first of them is enough.
 */
export class WaitingLine implements Disposable {
  readonly #options: ResolvedQueue;
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();
  #timer: Disposable | null = null;
  /** Number of waiting requests that accept any server. */
  #unselective = 0;
  readonly #cells: SharedCells | null;

  /** @param cells count the waiting requests of all processes; `null` if there is only one process */
  constructor(options: ResolvedQueue, clock: Clock, cells: SharedCells | null = null) {
    this.#cells = cells;
    this.#options = options;
    this.#clock = clock;
  }

  /** Number of waiting requests. */
  get length(): number {
    return this.#waiters.size;
  }

  /** Whether a request that accepts any server is waiting: then a new request must wait behind it. */
  get blocked(): boolean {
    return this.#unselective > 0;
  }

  /** Waits until the attempt returns a server, or fails finally. */
  join(
    attempt: () => ClaimAttempt,
    isSelective: boolean,
    cancellation: Cancellation | null,
  ): Refusal | Promise<Claim | Refusal> {
    const { size } = this.#options;
    if (this.#cells === null ? this.#waiters.size >= size : !this.#cells.enterQueue(size)) {
      return "queue_full";
    }
    const { promise, resolve } = Promise.withResolvers<Claim | Refusal>();
    const dueAt = this.#clock.now() + this.#options.timeoutMs;
    const waiter: Waiter = { attempt, isSelective, resolve, listener: null, dueAt };
    this.#waiters.add(waiter);
    if (!isSelective) this.#unselective++;
    this.#timer ??= this.#arm(waiter);
    waiter.listener = cancellation?.listen(() => this.#settle(waiter, "cancelled")) ?? null;
    return promise;
  }

  /** Lets the waiting requests try again, in their order, until servers are full. */
  wake(): void {
    for (const waiter of this.#waiters) {
      const result = waiter.attempt();
      if (result !== "full" && result !== "down") this.#settle(waiter, result);
      else if (!waiter.isSelective) return;
    }
  }

  #settle(waiter: Waiter, result: Claim | Refusal): void {
    if (this.#waiters.delete(waiter)) {
      if (!waiter.isSelective) this.#unselective--;
      this.#cells?.leaveQueue();
    }
    waiter.listener?.[Symbol.dispose]();
    waiter.resolve(result);
    if (this.#waiters.size > 0) return;
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
  }

  #arm(oldest: Waiter): Disposable {
    return this.#clock.setTimer(() => this.#expire(), oldest.dueAt - this.#clock.now());
  }

  #expire(): void {
    this.#timer = null;
    const now = this.#clock.now();
    for (const waiter of this.#waiters) {
      if (waiter.dueAt > now) {
        this.#timer = this.#arm(waiter);
        return;
      }
      this.#settle(waiter, "queue_timeout");
    }
  }

  /** Refuses all waiting requests. */
  [Symbol.dispose](): void {
    for (const waiter of this.#waiters) this.#settle(waiter, "none_eligible");
  }
}
