/** Calls functions of the configuration during a request. */

import { FilterError, UpstreamError } from "../core/errors.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Runs a phase; a synchronous result is returned synchronously.
 *
 * @throws {FilterError} when it throws or rejects; if the request was cancelled meanwhile, the reason of that
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

/**
 * A filter that waits for something on behalf of the request fails when the request is cancelled; that is not its
 * fault.
 */
function failed(phase: string, error: unknown, { cancellation }: Exchange): unknown {
  return cancellation.cancelled ? cancellation.reason : new FilterError(phase, error);
}

/** How long a filter may take to make the final response of an exchange that is out of time. */
const FINAL_REPLY_MS = 1000;

/**
 * Waits for the filter as long as the request is wanted, and as long as its subject (such as content) does not fail.
 * A later result of the filter is dropped.
 *
 * @param isFinal whether the exchange has failed and the filter makes the final response
 * @throws {TotalTimeoutError} when the exchange has reached its deadline; the reason when it is cancelled or the
 * server's content fails; the error when the filter rejects
 */
export async function awaitFilter<Result>(
  exchange: Exchange,
  pending: Promise<Result>,
  isFinal = false,
): Promise<Result> {
  const { runtime, cancellation, timeouts: { totalMs }, startedAt } = exchange;
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  using deadline = runtime.wheel.deadline(() => {
    const error = new TotalTimeoutError(exchange);
    reject(error);
    // Nobody waits any longer for what the filter does.
    exchange.abortSignal(error);
  });
  if (isFinal) deadline.set(FINAL_REPLY_MS);
  else deadline.set(totalMs, startedAt);
  if (cancellation.cancelled && !isFinal) reject(cancellation.reason);
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

/** The deadline of the exchange has passed while no server worked on it, but for example a filter. */
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

/** Whether the exchange has reached its deadline; the time of the client's content and of filters counts. */
export function isOutOfTime({ timeouts: { totalMs }, startedAt, runtime }: Exchange): boolean {
  return totalMs !== Infinity && runtime.clock.now() - startedAt >= totalMs;
}
