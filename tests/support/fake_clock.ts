/** A clock that only the test advances. */

import type { Clock } from "../../lib/core/clock.ts";

interface FakeTimer {
  readonly dueAt: number;
  readonly callback: () => void;
}

/** Number of turns of the microtask queue after a timer. */
const MICROTASK_TURNS = 20;

/** A clock whose timers run only inside {@linkcode FakeClock.advance} and {@linkcode FakeClock.tick}. */
export class FakeClock implements Clock {
  #now: number;
  #wallTime: number;
  readonly #timers = new Set<FakeTimer>();

  /**
   * @param now initial monotonic time
   * @param wallTime initial wall time: 2026-01-01 UTC
   */
  constructor(now = 1000, wallTime = 1_767_225_600_000) {
    this.#now = now;
    this.#wallTime = wallTime;
  }

  now(): number {
    return this.#now;
  }

  wallTime(): number {
    return this.#wallTime;
  }

  /** Number of timers that are set. */
  get pending(): number {
    return this.#timers.size;
  }

  setTimer(callback: () => void, delayMs: number): Disposable {
    const timer = { dueAt: this.#now + Math.max(0, delayMs), callback };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  /** Advances the time; timers run in order, each at its own time, without turns of the microtask queue in between. */
  tick(ms: number): void {
    const end = this.#now + ms;
    for (let timer = this.#next(end); timer !== null; timer = this.#next(end)) this.#fire(timer);
    this.#moveTo(end);
  }

  /** Advances the time; after each timer, the promises that it settled are processed. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let timer = this.#next(end); timer !== null; timer = this.#next(end)) {
      this.#fire(timer);
      await settle();
    }
    this.#moveTo(end);
    await settle();
  }

  /** Changes the wall time, as a time server would; timers are not affected. */
  jumpWallTime(ms: number): void {
    this.#wallTime += ms;
  }

  #next(end: number): FakeTimer | null {
    let first: FakeTimer | null = null;
    for (const timer of this.#timers) {
      if (timer.dueAt > end) continue;
      if (first === null || timer.dueAt < first.dueAt) first = timer;
    }
    return first;
  }

  #fire(timer: FakeTimer): void {
    this.#timers.delete(timer);
    this.#moveTo(Math.max(this.#now, timer.dueAt));
    timer.callback();
  }

  #moveTo(now: number): void {
    this.#wallTime += now - this.#now;
    this.#now = now;
  }
}

/** Runs the microtask queue, including tasks that these add. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < MICROTASK_TURNS; turn++) await null;
}
