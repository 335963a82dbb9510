/** The requests of one server of the runtime that are not over. */

import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";

/** How long a request runs before its client is watched. */
const WATCH_AFTER_MS = 100;
/** How often it is looked which requests have run that long. */
const LOOK_EVERY_MS = 50;

/** A request that is not over. */
interface RunningStream {
  readonly startedAt: number;
  /** Whether it has got no response yet. */
  readonly unanswered: boolean;
  /** Whether its content has not been read wholly. */
  readonly awaitsContent: boolean;
  /** Its place among the others; -1 once it is over. */
  index: number;
  /** Notices from now on that its client goes away. */
  watch(): void;
}

/** Knows what runs, watches clients, and tells when nothing would be broken off by the end. */
export class DenoStreams implements Disposable {
  readonly #clock: Clock;
  readonly #look: Deadline;
  // Not a Set: the tables that a busy one leaves behind hold on to one another (measured: 2 KB a request).
  readonly #running: RunningStream[] = [];
  readonly #waiting = new Set<() => void>();
  #looking = false;
  /** When the last one began, in the clock's milliseconds. */
  begunAt = -Infinity;

  constructor(clock: Clock, wheel: DeadlineWheel) {
    this.#clock = clock;
    this.#look = wheel.deadline(() => this.#watchOld());
  }

  add(stream: RunningStream): void {
    this.begunAt = stream.startedAt;
    stream.index = this.#running.length;
    this.#running.push(stream);
    if (!this.#looking) this.#lookLater();
  }

  /** The content of a request has been read, or the request is over. */
  progressed(stream: RunningStream, over: boolean): void {
    if (over) this.#remove(stream);
    if (this.#waiting.size > 0 && this.#quiet) {
      for (const resolve of this.#waiting) resolve();
      this.#waiting.clear();
    }
  }

  #remove(stream: RunningStream): void {
    const running = this.#running;
    const { index } = stream;
    if (running[index] !== stream) return;
    const last = running.pop()!;
    if (last !== stream) {
      running[index] = last;
      last.index = index;
    }
    stream.index = -1;
  }

  get #quiet(): boolean {
    return !this.#running.some((stream) => stream.awaitsContent);
  }

  /**
   * Resolves once no content is on its way.
   *
   * The runtime breaks off content that is still on its way as soon as a server is told to finish (Deno 2.9.6): so it
   * must not be told before.
   */
  untilQuiet(): Promise<void> {
    if (this.#quiet) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  #lookLater(): void {
    this.#looking = true;
    this.#look.set(LOOK_EVERY_MS);
  }

  /**
   * Touching `request.signal` costs as much as the rest of a fast request (measured: 9 us of 8.5), so only requests that
   * take long are watched; which ones do is looked up now and then for all at once, so that fast ones pay nothing.
   */
  #watchOld(): void {
    const now = this.#clock.now();
    let young = false;
    for (let i = this.#running.length - 1; i >= 0; i--) {
      const stream = this.#running[i]!;
      if (!stream.unanswered) continue;
      if (now - stream.startedAt >= WATCH_AFTER_MS) stream.watch();
      else young = true;
    }
    this.#looking = false;
    if (young) this.#lookLater();
  }

  [Symbol.dispose](): void {
    this.#look.clear();
  }
}
