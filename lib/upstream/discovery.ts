/** Servers that are found while the proxy runs. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { Pool, PoolChange, ServerLike } from "./pool.ts";

/** Finds the servers of a pool; the signal aborts when nobody wants to know any more. */
export type Discover = (signal: AbortSignal) => Promise<readonly ServerLike[]>;

/** Told of what a refresh has changed, or that it failed. */
export interface DiscoveryHooks {
  /** Called when servers came or went; not when only weights changed. */
  onChange?: (change: PoolChange) => void;
  /** Called when refreshes begin to fail or to find nothing, once until one succeeds; the servers stay as they are. */
  onFailure?: (error: unknown) => void;
  /** Called when a refresh has worked after some that had not. */
  onRecovery?: () => void;
}

/** What a {@linkcode Discovery} is made of. */
export interface DiscoveryInit extends DiscoveryHooks {
  pool: Pool;
  discover: Discover;
  /** From the end of a refresh to the next one. */
  intervalMs: number;
  /** How long a refresh may take. */
  timeoutMs: number;
  clock: Clock;
  random: Random;
}

/** A pool without any server does not wait longer than this for the next look. */
const EMPTY_PAUSE_MS = 1000;

/** Share of the interval by which each one is made shorter at random, or all proxies would ask at once. */
const JITTER = 0.1;

/**
 * Keeps the servers of a pool as a function finds them. What it finds is applied as a difference; a refresh that fails
 * or finds nothing changes nothing, since no server at all is hardly ever what is meant.
 */
export class Discovery implements Disposable {
  readonly #init: DiscoveryInit;
  #timer: Disposable | null = null;
  #controller: AbortController | null = null;
  #failures = 0;
  #failing = false;
  #disposed = false;

  constructor(init: DiscoveryInit) {
    this.#init = init;
  }

  /** Refreshes that failed or found nothing. */
  get failures(): number {
    return this.#failures;
  }

  /** Looks once and goes on looking; the promise is fulfilled when the first look is over, however it went. */
  async start(): Promise<void> {
    await this.#refresh();
  }

  async #refresh(): Promise<void> {
    if (this.#disposed) return;
    const { pool, discover, timeoutMs, clock } = this.#init;
    const controller = this.#controller = new AbortController();
    const timeout = clock.setTimer(() => {
      controller.abort(new DOMException(`No answer after ${timeoutMs} ms`, "TimeoutError"));
    }, timeoutMs);
    try {
      const servers = await untilAborted(discover(controller.signal), controller.signal);
      if (servers.length === 0) throw new Error("no servers were found");
      if (!this.#disposed) this.#succeed(pool.replaceServers(servers));
    } catch (error) {
      if (!this.#disposed) this.#fail(error);
    } finally {
      timeout[Symbol.dispose]();
      this.#controller = null;
      this.#schedule();
    }
  }

  #schedule(): void {
    if (this.#disposed) return;
    const { pool, clock, random, intervalMs } = this.#init;
    const pauseMs = pool.servers.length === 0 ? Math.min(EMPTY_PAUSE_MS, intervalMs) : intervalMs;
    this.#timer = clock.setTimer(() => void this.#refresh(), pauseMs * (1 - JITTER * random()));
  }

  #succeed(change: PoolChange): void {
    const { onChange, onRecovery } = this.#init;
    const recovered = this.#failing;
    this.#failing = false;
    if (recovered) onRecovery?.();
    if (change.added.length > 0 || change.removed.length > 0) onChange?.(change);
  }

  #fail(error: unknown): void {
    this.#failures++;
    if (this.#failing) return;
    this.#failing = true;
    this.#init.onFailure?.(error);
  }

  /** Ends the looking; the servers stay. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    this.#controller?.abort(new DOMException("The discovery was ended", "AbortError"));
  }
}

/** The same promise, but rejected when the signal aborts: a function may not care for the signal. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", onAbort));
}
