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
