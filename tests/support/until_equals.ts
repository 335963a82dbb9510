/** Assertions about what workers report to their supervisor, which takes a moment. */

import { assertEquals } from "@std/assert";
import { PATIENCE_MS } from "./recorder.ts";
import { TEST_WORKERS } from "./test_workers.ts";

/** How often values are compared again, in milliseconds. */
const POLL_MS = 10;

/** Asserts that values are equal: at once in one process, and with workers as soon as they have reported. */
export async function untilEquals<T>(read: () => T, expected: T, message?: string): Promise<void> {
  const end = performance.now() + (TEST_WORKERS === 1 ? 0 : PATIENCE_MS / 6);
  for (;;) {
    try {
      return assertEquals(read(), expected, message);
    } catch (error) {
      if (performance.now() >= end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
