/** Limits of the load: the running requests, how many may run, and how many may be retried. */

import type { ResolvedOverload } from "../config/process_options.ts";
import type { RetryPolicy } from "../config/retry_options.ts";
import type { Cancellation, Deadline, DeadlineWheel } from "../core/cancellation.ts";
import type { Clock } from "../core/clock.ts";
import { OverloadError } from "../core/errors.ts";
import type { SharedCells } from "../upstream/shared_servers.ts";

interface Waiter {
  readonly enter: () => void;
  readonly refuse: (reason: unknown) => void;
  readonly deadline: Deadline;
  listener: Disposable | null;
}

/** Interval of checking the delay of the event loop. */
const CHECK_MS = 100;
/** How often waiting requests check for room that another process has made. */
const POLL_MS = 5;

/** Counts the requests of the whole proxy; waiting ones are admitted in order. */
export class OverloadLimit implements Disposable {
  readonly #options: ResolvedOverload;
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #waiters = new Set<Waiter>();
  #inFlight = 0;
  #late = false;
  #checkTimer: Disposable | null = null;
  readonly #cells: SharedCells | null;
  #poll: Disposable | null = null;
  /** The limit that has replaced this one, for which its requests count too. */
  #successor: OverloadLimit | null = null;

  /** @param cells shared counts of all processes; `null` with one process */
  constructor(
    options: ResolvedOverload,
    clock: Clock,
    wheel: DeadlineWheel,
    cells: SharedCells | null = null,
  ) {
    this.#cells = cells;
    this.#options = options;
    this.#clock = clock;
    this.#wheel = wheel;
    if (options.maxLoopDelayMs !== Infinity) this.#scheduleCheck();
  }

  /** How many requests run, and how many wait. */
  get inFlight(): number {
    return this.#cells === null ? this.#inFlight : this.#cells.inFlight;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** @throws {OverloadError} when the request may neither run nor wait */
  enter(cancellation: Cancellation): void | Promise<void> {
    const { maxInFlight, queue: { size, timeoutMs }, maxLoopDelayMs } = this.#options;
    if (this.#late) throw new OverloadError(`its event loop is late by more than ${maxLoopDelayMs} ms`);
    if (this.#take()) return;
    const mayWait = this.#cells === null ? this.#waiters.size < size : this.#cells.enterQueue(size);
    if (!mayWait) throw full(maxInFlight);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        enter: resolve,
        refuse: reject,
        deadline: this.#wheel.deadline(() => this.#remove(waiter).refuse(full(maxInFlight))),
        listener: null,
      };
      waiter.deadline.set(timeoutMs);
      this.#waiters.add(waiter);
      if (this.#cells !== null) this.#pollLater(this.#cells);
      waiter.listener = cancellation.listen((reason) => this.#remove(waiter).refuse(reason));
    });
  }

  /** A request has ended: the next one takes its place. */
  leave(): void {
    for (const waiter of this.#waiters) return this.#remove(waiter).enter();
    if (this.#cells !== null) return this.#cells.leave();
    this.#inFlight--;
    this.#successor?.leave();
  }

  #take(): boolean {
    const { maxInFlight } = this.#options;
    if (this.#cells !== null) return this.#cells.enter(maxInFlight);
    if (this.#inFlight >= maxInFlight) return false;
    this.#inFlight++;
    return true;
  }

  /** Admits requests when another process has made room, which sends no notice. */
  #pollLater(cells: SharedCells): void {
    this.#poll ??= this.#clock.setTimer(() => {
      this.#poll = null;
      for (const waiter of this.#waiters) {
        if (!this.#take()) break;
        this.#remove(waiter).enter();
      }
      if (this.#waiters.size > 0) this.#pollLater(cells);
    }, POLL_MS);
  }

  /** Replaces an earlier limit, whose requests continue. */
  takeOver(before: OverloadLimit): void {
    if (this.#cells !== null) return;
    this.#inFlight += before.#inFlight;
    before.#successor = this;
  }

  #remove(waiter: Waiter): Waiter {
    if (this.#waiters.delete(waiter)) this.#cells?.leaveQueue();
    waiter.deadline.clear();
    waiter.listener?.[Symbol.dispose]();
    return waiter;
  }

  #scheduleCheck(): void {
    const due = this.#clock.now() + CHECK_MS;
    this.#checkTimer = this.#clock.setTimer(() => {
      this.#late = this.#clock.now() - due > this.#options.maxLoopDelayMs;
      this.#scheduleCheck();
    }, CHECK_MS);
  }

  [Symbol.dispose](): void {
    this.#poll?.[Symbol.dispose]();
    this.#checkTimer?.[Symbol.dispose]();
    this.#checkTimer = null;
  }
}

function full(maxInFlight: number): OverloadError {
  return new OverloadError(`${maxInFlight} requests run already`);
}

// The running requests, and how they are ended when the proxy stops.

/** A request as far as needed here. */
interface RunningRequest {
  readonly status: number;
  /** The client's offer to switch protocols; `null` without one. */
  readonly upgrade: { readonly webSocket: unknown } | null;
  /** Index among the others; -1 once it has ended. */
  runningIndex: number;
  /**
   * Cancels it because the proxy has to stop.
   *
   * @param hurried `false` when only its configuration was replaced
   */
  abandon(hurried?: boolean): void;
}

/** Every request of a proxy from its arrival until it is settled. */
export class RunningRequests {
  // Not a Set: the tables that a busy Set leaves behind keep each other alive, and all requests that were in them,
  // for the collector of young objects (measured: 2 KB a request).
  readonly #running: RunningRequest[] = [];
  #empty: PromiseWithResolvers<void> | null = null;

  /** How many requests are running. */
  get size(): number {
    return this.#running.length;
  }

  add(exchange: RunningRequest): void {
    exchange.runningIndex = this.#running.length;
    this.#running.push(exchange);
  }

  /** The request has ended. */
  delete(exchange: RunningRequest): void {
    const running = this.#running;
    const index = exchange.runningIndex;
    if (running[index] !== exchange) return;
    const last = running.pop()!;
    if (last !== exchange) {
      running[index] = last;
      last.runningIndex = index;
    }
    exchange.runningIndex = -1;
    if (running.length === 0 && this.#empty !== null) {
      this.#empty.resolve();
      this.#empty = null;
    }
  }

  /**
   * Ends WebSockets and other tunnels, which may last for hours.
   *
   * @param stopping whether the proxy stops: then also WebSockets that no server has accepted yet, and with less time
   * to close
   */
  endTunnels(stopping = true): void {
    this.#visit((exchange) => {
      const opens = stopping && (exchange.upgrade?.webSocket ?? null) !== null;
      if (exchange.status === 101 || opens) exchange.abandon(stopping);
    });
  }

  /** Resolves as soon as no request is running. */
  untilEmpty(): Promise<void> {
    if (this.#running.length === 0) return Promise.resolve();
    this.#empty ??= Promise.withResolvers<void>();
    return this.#empty.promise;
  }

  /** Cancels all running requests. */
  abandon(): void {
    this.#visit((exchange) => exchange.abandon());
  }

  #visit(callback: (exchange: RunningRequest) => void): void {
    // From the end: the request that takes the place of a removed one was already visited.
    for (let i = this.#running.length - 1; i >= 0; i--) callback(this.#running[i]!);
  }
}

// Limits retries to a share of the requests: otherwise overloaded servers would get even more requests.

/** The counting window, as a number of parts, and the length of a part. */
const PARTS = 10;
const PART_MS = 1000;

/** Layout of a budget: one plus the number of the current part; then the requests and the retries of each part. */
const PART = 0;
const REQUESTS = 1;
const RETRIES = REQUESTS + PARTS;

/** Counts the requests and the retries of the last ten seconds. */
export class RetryBudget {
  readonly #percent: number;
  readonly #least: number;
  readonly #counts: Int32Array;
  /** Whether other processes count there too. */
  readonly #shared: boolean;
  readonly #aheadMs: number;

  /**
   * @param counts shared counts of all processes; `null` with one process
   * @param aheadMs offset that makes the time equal in all of them
   */
  constructor(
    { percent, min }: NonNullable<RetryPolicy["budget"]>,
    counts: Int32Array | null = null,
    aheadMs = 0,
  ) {
    this.#percent = percent;
    this.#least = min * PARTS * PART_MS / 1000;
    this.#counts = counts ?? new Int32Array(RETRIES + PARTS);
    this.#shared = counts !== null;
    this.#aheadMs = aheadMs;
  }

  /** Counts a request; `now` in milliseconds. */
  request(now: number): void {
    this.#add(REQUESTS + this.#advanceTo(now), 1);
  }

  /** Takes a retry from the budget, also if it is delayed; returns whether one was left. */
  take(now: number): boolean {
    const part = this.#advanceTo(now);
    let requests = 0;
    let retries = 0;
    // Counted first, because other processes may take one at the same time.
    this.#add(RETRIES + part, 1);
    for (let i = 0; i < PARTS; i++) {
      requests += this.#counts[REQUESTS + i]!;
      retries += this.#counts[RETRIES + i]!;
    }
    if (retries - 1 < Math.max(this.#least, requests * this.#percent / 100)) return true;
    this.#add(RETRIES + part, -1);
    return false;
  }

  #add(at: number, count: 1 | -1): void {
    if (this.#shared) Atomics.add(this.#counts, at, count);
    else this.#counts[at]! += count;
  }

  /** Clears the parts that are older than the window. */
  #advanceTo(now: number): number {
    // The time may be slightly older than that of a request counted since.
    const counts = this.#counts;
    const last = counts[PART]! - 1;
    const part = Math.max(Math.floor((now + this.#aheadMs) / PART_MS), last);
    if (part !== last && Atomics.compareExchange(counts, PART, last + 1, part + 1) === last + 1) {
      const passed = last === -1 ? PARTS : Math.min(part - last, PARTS);
      for (let i = 0; i < passed; i++) {
        const passedPart = (part + PARTS - i) % PARTS;
        counts[REQUESTS + passedPart] = counts[RETRIES + passedPart] = 0;
      }
    }
    return part % PARTS;
  }
}
