import { PATIENCE_MS } from "./recorder.ts";

/** Number of consecutive equal readings. */
const LOOKS = 25;
const PAUSE_MS = 10;

/**
 * Waits until a number no longer grows, and returns it.
 *
 * Only for tests that something does not happen (a buffer that does not grow), where there is no event to wait for.
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
 * Polls until a condition is true, if there is no event for it.
 *
 * @param what describes the condition in the error after a timeout
 */
export async function untilTrue(what: string, holds: () => boolean, withinMs = PATIENCE_MS): Promise<void> {
  for (const endAt = Date.now() + withinMs; !holds();) {
    if (Date.now() > endAt) throw new Error(`Not so within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
