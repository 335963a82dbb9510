/** Waits for a filter that does not answer at once. */

import type { Exchange } from "./exchange.ts";
import { LateError } from "./late_error.ts";

/** How long a filter may take that is asked about an exchange whose time is over. */
const LAST_WORDS_MS = 500;

/**
 * Waits for the filter as long as somebody waits for the request, and as long as what is to be made of it comes. What the
 * filter makes after that is dropped.
 *
 * @param lastWords whether the exchange is over and the filter is asked what the client gets to hear of it
 * @throws {LateError} when the exchange has taken as long as it may; what called it off, or broke off the server's
 * content, when that happens; whatever the filter rejects with
 */
export async function awaitFilter<Result>(
  exchange: Exchange,
  pending: Promise<Result>,
  lastWords = false,
): Promise<Result> {
  const { runtime, cancellation, timeouts: { totalMs }, startedAt } = exchange;
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  using deadline = runtime.wheel.deadline(() => reject(new LateError(exchange)));
  if (lastWords) deadline.set(LAST_WORDS_MS);
  else deadline.set(totalMs, startedAt);
  runtime.clientWatch.begin(startedAt);
  if (cancellation.cancelled && !lastWords) reject(cancellation.reason);
  exchange.endWait = reject;
  pending.then(resolve, reject);
  try {
    return await promise;
  } catch (error) {
    pending.then(drop, () => {});
    throw error;
  } finally {
    exchange.endWait = null;
  }
}

function drop(made: unknown): void {
  if (made instanceof Response && !made.bodyUsed) made.body?.cancel().catch(() => {});
}
