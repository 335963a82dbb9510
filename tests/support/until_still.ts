import { PATIENCE_MS } from "./recorder.ts";

/** How many looks in a row have to find the same. */
const LOOKS = 25;
const PAUSE_MS = 10;

/**
 * Waits until a number has stopped growing, and gives it.
 *
 * Only for proving that something does not happen (a buffer that does not grow), where there is no event to wait for.
 */
export async function untilStill(read: () => number): Promise<number> {
  let last = read();
  for (let same = 0; same < LOOKS; same++) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    const now = read();
    if (now !== last) same = 0;
    last = now;
  }
  return last;
}

/**
 * Looks again and again until a condition holds, where no event tells of it.
 *
 * @param what says what was waited for, when it does not come to that
 */
export async function untilTrue(what: string, holds: () => boolean, withinMs = PATIENCE_MS): Promise<void> {
  for (const endAt = Date.now() + withinMs; !holds();) {
    if (Date.now() > endAt) throw new Error(`Not so within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
