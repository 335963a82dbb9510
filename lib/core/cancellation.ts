/** What ends a wait or gives back what was held: calling off, deadlines, leases. */

import type { Clock, Timers } from "./clock.ts";

// A request's one way of being called off; what an `AbortController` does, at a tenth of its cost.

/** Somebody who waits for something that may be called off. */
export class CancellationListener implements Disposable {
  /** @internal */ cancellation: Cancellation | null = null;
  /** @internal */ previous: CancellationListener | null = null;
  /** @internal */ next: CancellationListener | null = null;
  /** @internal */ readonly callback: (reason: unknown) => void;

  /** @param callback told of the reason, at most once for each {@linkcode Cancellation.add} */
  constructor(callback: (reason: unknown) => void) {
    this.callback = callback;
  }

  /** Listens no longer; it may be added again. */
  [Symbol.dispose](): void {
    this.cancellation?.remove(this);
  }
}

/**
 * Tells everybody who waits, at once and synchronously, that the work is not wanted any more.
 *
 * Listeners are links of a list, so that whoever waits again and again (a connection) makes its listener once.
 *
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

  /** What {@linkcode cancel} was called with. */
  get reason(): unknown {
    return this.#reason;
  }

  /** Has the callback told, until the result is disposed; told at once when it is too late. */
  listen(callback: (reason: unknown) => void): Disposable {
    const listener = new CancellationListener(callback);
    this.add(listener);
    return listener;
  }

  /** @internal Has a listener told that listens to nothing else; told at once when it is too late. */
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

  /** Calls the work off; only the first call counts. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#reason = reason;
    // Whoever listened last waits for what is nearest to the network: it is told first.
    for (let listener = this.#first; listener !== null; listener = this.#first) {
      this.remove(listener);
      listener.callback(reason);
    }
  }
}

// Something taken that must be given back exactly once.

/**
 * A permit that is given back exactly once, however often it is disposed.
 *
 * A second release would free the permit of another request.
 *
 * @example
 * ```ts ignore
 * using lease = server.acquire();
 * ```
 */
export class Lease implements Disposable {
  #release: (() => void) | null;

  /**
   * Makes the permit for what has been taken.
   *
   * @param release ends the lease; called once
   */
  constructor(release: () => void) {
    this.#release = release;
  }

  /** Whether the lease has been given back. */
  get released(): boolean {
    return this.#release === null;
  }

  /** Ends the lease; does nothing the second time. */
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

// Deadlines for everything on the network, at the price of a list operation each.

/** A deadline that is kept by a {@linkcode DeadlineWheel}; make it once and set it as often as needed. */
export class Deadline implements Disposable {
  /** @internal */ previous: Deadline | null = null;
  /** @internal */ next: Deadline | null = null;
  /** @internal */ dueAt = 0;
  /** @internal */ readonly wheel: DeadlineWheel;
  /** Called when the time is up. */
  onExpire: () => void;

  /** @internal Use {@linkcode DeadlineWheel.deadline}. */
  constructor(wheel: DeadlineWheel, onExpire: () => void) {
    this.wheel = wheel;
    this.onExpire = onExpire;
  }

  /**
   * Starts, or starts anew, `delayMs` from now; never expires early, and late by less than two ticks.
   *
   * @param now when the delay begins, if the clock was read already
   */
  set(delayMs: number, now?: number): void {
    this.wheel.schedule(this, delayMs, now);
  }

  /** Calls the deadline off. */
  clear(): void {
    this.wheel.cancel(this);
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}

/** What a {@linkcode DeadlineWheel} takes. */
interface DeadlineWheelOptions {
  clock: Clock;
  /** Length of a tick; a deadline is late by less than two of them. @default {50} */
  tickMs?: number;
}

const SLOTS = 512;

/**
 * Keeps any number of deadlines with one timer, which runs only while there are any.
 *
 * A timer of the runtime a request costs microseconds; being late by two ticks costs a timeout nothing.
 * (Hashed timing wheel: Varghese and Lauck, 1987, scheme 6.)
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
   * The time as of the last tick, for what need not be exact; after a stall that may be long ago. Costs nothing while
   * deadlines are kept, and a look at the clock otherwise.
   */
  get lately(): number {
    return this.#timer === null ? this.#clock.now() : this.#tick * this.#tickMs;
  }

  /** How many deadlines are set. */
  get pending(): number {
    return this.#pending;
  }

  /** Makes a deadline, not yet set. */
  deadline(onExpire: () => void): Deadline {
    return new Deadline(this, onExpire);
  }

  /** @internal */
  schedule(deadline: Deadline, delayMs: number, now: number = this.#clock.now()): void {
    if (deadline.dueAt !== 0) this.#unlink(deadline);
    if (this.#disposed || delayMs === Infinity) return;
    // A turn that is going on has not looked at all slots yet, and arms the timer when it has.
    if (this.#timer === null && !this.#turning) {
      this.#tick = this.#currentTick();
      this.#arm();
    }
    // Rounded up, so that a deadline is never early; at least one tick on, so that this turn's slot is not missed.
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
    // After a long stall every slot is looked at once, not once for each tick that was missed.
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
      // A callback before this one may have cleared it or set it anew.
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

// Timers that are cheap where there are very many.

/** Timers that share one: never early, and late by less than two ticks. */
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

  /** Ends all of them. */
  [Symbol.dispose](): void {
    this.#wheel[Symbol.dispose]();
  }
}
