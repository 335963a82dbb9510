/** Counts the requests of the whole proxy, and says what is too much. */

import type { ResolvedOverload } from "../config/overload_options.ts";
import type { Cancellation } from "../core/cancellation.ts";
import type { Clock } from "../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../core/deadline_wheel.ts";
import { OverloadError } from "../core/errors.ts";

interface Waiter {
  readonly enter: () => void;
  readonly refuse: (reason: unknown) => void;
  readonly deadline: Deadline;
  listener: Disposable | null;
}

/** How often the lateness of the event loop is looked at. */
const LOOK_MS = 100;

/** Counts the requests of the whole proxy; those that have to wait are let in in their order. */
export class OverloadLimit implements Disposable {
  readonly #options: ResolvedOverload;
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #waiters = new Set<Waiter>();
  #inFlight = 0;
  #late = false;
  #look: Disposable | null = null;
  /** The one that has taken its place, for which its requests count as well. */
  #heir: OverloadLimit | null = null;

  constructor(options: ResolvedOverload, clock: Clock, wheel: DeadlineWheel) {
    this.#options = options;
    this.#clock = clock;
    this.#wheel = wheel;
    if (options.maxLoopDelayMs !== Infinity) this.#lookAgain();
  }

  /** How many requests run, and how many wait. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** @throws {OverloadError} when the request may neither run nor wait */
  enter(cancellation: Cancellation): void | Promise<void> {
    const { maxInFlight, queue: { size, timeoutMs }, maxLoopDelayMs } = this.#options;
    if (this.#late) throw new OverloadError(`its event loop is late by more than ${maxLoopDelayMs} ms`);
    if (this.#inFlight < maxInFlight) {
      this.#inFlight++;
      return;
    }
    if (this.#waiters.size >= size) throw full(maxInFlight);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        enter: resolve,
        refuse: reject,
        deadline: this.#wheel.deadline(() => this.#remove(waiter).refuse(full(maxInFlight))),
        listener: null,
      };
      waiter.deadline.set(timeoutMs);
      this.#waiters.add(waiter);
      waiter.listener = cancellation.listen((reason) => this.#remove(waiter).refuse(reason));
    });
  }

  /** A request is over: the next one takes its place. */
  leave(): void {
    for (const waiter of this.#waiters) return this.#remove(waiter).enter();
    this.#inFlight--;
    this.#heir?.leave();
  }

  /** Takes the place of another one, whose requests go on. */
  takeOver(before: OverloadLimit): void {
    this.#inFlight += before.#inFlight;
    before.#heir = this;
  }

  #remove(waiter: Waiter): Waiter {
    this.#waiters.delete(waiter);
    waiter.deadline.clear();
    waiter.listener?.[Symbol.dispose]();
    return waiter;
  }

  #lookAgain(): void {
    const due = this.#clock.now() + LOOK_MS;
    this.#look = this.#clock.setTimer(() => {
      this.#late = this.#clock.now() - due > this.#options.maxLoopDelayMs;
      this.#lookAgain();
    }, LOOK_MS);
  }

  [Symbol.dispose](): void {
    this.#look?.[Symbol.dispose]();
    this.#look = null;
  }
}

function full(maxInFlight: number): OverloadError {
  return new OverloadError(`${maxInFlight} requests run already`);
}
