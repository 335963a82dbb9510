/** Time as an argument: everything below `server/` uses a `Clock`, so tests can control time. */

/**
 * A source of time and of timers.
 *
 * `now` is monotonic and only valid for differences; `wallTime` is the calendar time and may jump.
 */
export interface Clock {
  /** Milliseconds since a fixed moment; never decreases. */
  now(): number;
  /** Milliseconds since 1970-01-01 UTC; may jump when the machine's time is set. */
  wallTime(): number;
  /** Calls back once after `delayMs`; disposing the result cancels it. Does not keep the process alive. */
  setTimer(callback: () => void, delayMs: number): Disposable;
}

/** A source of timers. */
export type Timers = Pick<Clock, "setTimer">;

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  setTimer(callback: () => void, delayMs: number): Disposable {
    const id = setTimeout(callback, delayMs);
    Deno.unrefTimer(id as unknown as number);
    return { [Symbol.dispose]: () => clearTimeout(id) };
  },
};
