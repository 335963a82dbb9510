/** Calls a function of the configuration in the middle of a request. */

import { FilterError, UpstreamError } from "../core/errors.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Runs a phase; what it gives at once comes back at once.
 *
 * @throws {FilterError} when it throws or rejects; what called the request off, when that has happened meanwhile
 */
export function runFilter<Subject, Result>(
  phase: string,
  filter: (subject: Subject, ctx: Exchange) => Result | Promise<Result>,
  subject: Subject,
  exchange: Exchange,
): Result | Promise<Result> {
  try {
    const result = filter(subject, exchange);
    if (!(result instanceof Promise)) return result;
    return awaitFilter(
      exchange,
      result.catch((error) => {
        throw failed(phase, error, exchange);
      }),
    );
  } catch (error) {
    throw failed(phase, error, exchange);
  }
}

/** A filter that waits for something on behalf of the request fails when that is called off; it is not to blame. */
function failed(phase: string, error: unknown, { cancellation }: Exchange): unknown {
  return cancellation.cancelled ? cancellation.reason : new FilterError(phase, error);
}

/** How long a filter may take for what a client gets to hear of an exchange that is out of time. */
const LAST_WORDS_MS = 1000;

/**
 * Waits for the filter as long as somebody waits for the request, and as long as what is to be made of it comes. What the
 * filter makes after that is dropped.
 *
 * @param lastWords whether the exchange is over and the filter is asked what the client gets to hear of it
 * @throws {TotalTimeoutError} when the exchange has taken as long as it may; what called it off, or broke off the server's
 * content, when that happens; whatever the filter rejects with
 */
export async function awaitFilter<Result>(
  exchange: Exchange,
  pending: Promise<Result>,
  lastWords = false,
): Promise<Result> {
  const { runtime, cancellation, timeouts: { totalMs }, startedAt } = exchange;
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  using deadline = runtime.wheel.deadline(() => reject(new TotalTimeoutError(exchange)));
  if (lastWords) deadline.set(LAST_WORDS_MS);
  else deadline.set(totalMs, startedAt);
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

/** The time of the exchange was over while it was with no server; with a filter, for one. */
export class TotalTimeoutError extends UpstreamError {
  constructor({ upstreamHeadAt }: Exchange) {
    const answered = upstreamHeadAt !== 0;
    const since = answered ? "after a server had answered" : "before it was sent to a server";
    super(`The exchange took longer than it may ${since}`, {
      code: "http_response_timeout",
      phase: answered ? "answered" : "unsent",
    });
  }
}

/** Whether the exchange has taken as long as it may; the client's content and filters count. */
export function isOutOfTime({ timeouts: { totalMs }, startedAt, runtime }: Exchange): boolean {
  return totalMs !== Infinity && runtime.clock.now() - startedAt >= totalMs;
}
