/** Cancellation, deadlines and leases: they end waits, and release permits. */

import type { Clock, Timers } from "./clock.ts";

// Cancellation of a request; like an `AbortController`, at a tenth of its cost.

/** A listener for a cancellation. */
export class CancellationListener implements Disposable {
  /** @internal */ cancellation: Cancellation | null = null;
  /** @internal */ previous: CancellationListener | null = null;
  /** @internal */ next: CancellationListener | null = null;
  /** @internal */ readonly callback: (reason: unknown) => void;

  /** @param callback receives the reason, at most once per {@linkcode Cancellation.add} */
  constructor(callback: (reason: unknown) => void) {
    this.callback = callback;
  }

  /** Removes the listener; it may be added again. */
  [Symbol.dispose](): void {
    this.cancellation?.remove(this);
  }
}

/**
 * Notifies all listeners, synchronously, that the work is no longer wanted.
 *
 * Listeners are nodes of a linked list, so that a repeated user (a connection) makes its listener once.
 * @example
 * ```ts ignore
 * using _listener = cancellation.listen((reason) => reject(reason));
 * await promise;
 * ```
 */
export class Cancellation {
  #reason: unknown = undefined;
  #cancelled = false;
  #first: CancellationListener | null = null;

  /** Whether {@linkcode cancel} has been called. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** The argument of {@linkcode cancel}. */
  get reason(): unknown {
    return this.#reason;
  }

  /** Adds a callback until the result is disposed; calls it at once if already cancelled. */
  listen(callback: (reason: unknown) => void): Disposable {
    const listener = new CancellationListener(callback);
    this.add(listener);
    return listener;
  }

  /** @internal Adds a listener that is not in use; calls it at once if already cancelled. */
  add(listener: CancellationListener): void {
    if (this.#cancelled) return listener.callback(this.#reason);
    if (listener.cancellation !== null) {
      throw new Error("A listener can listen to one cancellation at a time");
    }
    listener.cancellation = this;
    listener.next = this.#first;
    if (this.#first !== null) this.#first.previous = listener;
    this.#first = listener;
  }

  /** @internal */
  remove(listener: CancellationListener): void {
    const { previous, next } = listener;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next !== null) next.previous = previous;
    listener.cancellation = listener.previous = listener.next = null;
  }

  /** Cancels the work; only the first call counts. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#reason = reason;
    // The latest listener is the closest to the network, and is called first.
    for (let listener = this.#first; listener !== null; listener = this.#first) {
      this.remove(listener);
      listener.callback(reason);
    }
  }
}

// Permits that must be released exactly once.

/**
 * A permit that is released exactly once, however often it is disposed.
 *
 * A second release would free the permit of another request.
 * @example
 * ```ts ignore
 * using lease = server.acquire();
 * ```
 */
export class Lease implements Disposable {
  #release: (() => void) | null;

  /**
   * Makes the lease of an acquired permit.
   *
   * @param release releases the permit; called once
   */
  constructor(release: () => void) {
    this.#release = release;
  }

  /** Whether the lease has been released. */
  get released(): boolean {
    return this.#release === null;
  }

  /** Releases the permit; does nothing the second time. */
  release(): void {
    const release = this.#release;
    this.#release = null;
    release?.();
  }

  /** The same as {@linkcode Lease.release}. */
  [Symbol.dispose](): void {
    this.release();
  }
}

// Deadlines for all network operations, each at the cost of a list operation.

/** A deadline on a {@linkcode DeadlineWheel}; make it once and set it as often as needed. */
export class Deadline implements Disposable {
  /** @internal */ previous: Deadline | null = null;
  /** @internal */ next: Deadline | null = null;
  /** @internal */ dueAt = 0;
  /** @internal */ readonly wheel: DeadlineWheel;
  /** Called when the deadline expires. */
  onExpire: () => void;

  /** @internal Use {@linkcode DeadlineWheel.deadline}. */
  constructor(wheel: DeadlineWheel, onExpire: () => void) {
    this.wheel = wheel;
    this.onExpire = onExpire;
  }

  /**
   * Sets the deadline, or resets it, to `delayMs` from now. It never expires early, and is late by less than two ticks.
   *
   * @param now start of the delay, if the clock was already read
   */
  set(delayMs: number, now?: number): void {
    this.wheel.schedule(this, delayMs, now);
  }

  /** Cancels the deadline. */
  clear(): void {
    this.wheel.cancel(this);
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}

/** Options of {@linkcode DeadlineWheel}. */
interface DeadlineWheelOptions {
  clock: Clock;
  /** Length of a tick; a deadline is late by less than two of them. @default {50} */
  tickMs?: number;
}

const SLOTS = 512;

/**
 * Manages any number of deadlines with one timer, which runs only while deadlines are set.
 *
 * A timer of the runtime per request costs microseconds; a timeout may be late by two ticks. (Hashed timing wheel:
 * Varghese and Lauck, 1987, scheme 6.)
 */
export class DeadlineWheel implements Disposable {
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #slots: (Deadline | null)[] = new Array(SLOTS).fill(null);
  #pending = 0;
  #tick = 0;
  #timer: Disposable | null = null;
  #turning = false;
  #disposed = false;

  constructor({ clock, tickMs = 50 }: DeadlineWheelOptions) {
    this.#clock = clock;
    this.#tickMs = tickMs;
  }

  /**
   * The time of the last tick, for uses that need no exact time; after a stall it may be long ago. Free while deadlines
   * are set, otherwise it reads the clock.
   */
  get lately(): number {
    return this.#timer === null ? this.#clock.now() : this.#tick * this.#tickMs;
  }

  /** Number of deadlines that are set. */
  get pending(): number {
    return this.#pending;
  }

  /** Makes a deadline that is not yet set. */
  deadline(onExpire: () => void): Deadline {
    return new Deadline(this, onExpire);
  }

  /** @internal */
  schedule(deadline: Deadline, delayMs: number, now: number = this.#clock.now()): void {
    if (deadline.dueAt !== 0) this.#unlink(deadline);
    if (this.#disposed || delayMs === Infinity) return;
    // A running turn has not checked all slots yet; it starts the timer at its end.
    if (this.#timer === null && !this.#turning) {
      this.#tick = this.#currentTick();
      this.#arm();
    }
    // Rounded up, so that a deadline is never early; at least one tick ahead, since the current slot may already be
    // done.
    const dueAt = Math.max(Math.ceil((now + delayMs) / this.#tickMs), this.#tick + 1);
    deadline.dueAt = dueAt;
    const slot = dueAt % SLOTS;
    const head = this.#slots[slot] ?? null;
    deadline.next = head;
    if (head !== null) head.previous = deadline;
    this.#slots[slot] = deadline;
    this.#pending++;
  }

  /** @internal */
  cancel(deadline: Deadline): void {
    if (deadline.dueAt !== 0) this.#unlink(deadline);
  }

  #currentTick(): number {
    return Math.floor(this.#clock.now() / this.#tickMs);
  }

  #arm(): void {
    this.#timer = this.#clock.setTimer(() => this.#turn(), this.#tickMs);
  }

  #turn(): void {
    this.#timer = null;
    this.#turning = true;
    const now = this.#currentTick();
    // After a long stall every slot is checked once, not once per missed tick.
    const steps = Math.min(now - this.#tick, SLOTS);
    this.#tick = now;
    try {
      for (let tick = now - steps + 1; tick <= now; tick++) this.#expire(tick % SLOTS, now);
    } finally {
      this.#turning = false;
      if (this.#pending > 0 && !this.#disposed) this.#arm();
    }
  }

  #expire(slot: number, now: number): void {
    let due: Deadline[] | null = null;
    for (let deadline = this.#slots[slot] ?? null; deadline !== null; deadline = deadline.next) {
      if (deadline.dueAt <= now) (due ??= []).push(deadline);
    }
    if (due === null) return;
    for (const deadline of due) {
      // An earlier callback may have cleared or reset it.
      if (deadline.dueAt === 0 || deadline.dueAt > now) continue;
      this.#unlink(deadline);
      deadline.onExpire();
    }
  }

  #unlink(deadline: Deadline): void {
    const { previous, next } = deadline;
    if (previous === null) this.#slots[deadline.dueAt % SLOTS] = next;
    else previous.next = next;
    if (next !== null) next.previous = previous;
    deadline.previous = deadline.next = null;
    deadline.dueAt = 0;
    this.#pending--;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
  }
}

// Cheap timers for very large numbers.

/** Timers that share one timer of the clock: never early, and late by less than two ticks. */
export class CoarseTimers implements Timers, Disposable {
  readonly #wheel: DeadlineWheel;

  constructor(clock: Clock, tickMs: number) {
    this.#wheel = new DeadlineWheel({ clock, tickMs });
  }

  setTimer(callback: () => void, delayMs: number): Disposable {
    const deadline = this.#wheel.deadline(callback);
    deadline.set(delayMs);
    return deadline;
  }

  /** Cancels all timers. */
  [Symbol.dispose](): void {
    this.#wheel[Symbol.dispose]();
  }
}
