/** Chooses the server that a request goes to. */

import type { Claim, Refusal } from "../balancer/waiting_line.ts";
import { Cancellation } from "../core/cancellation.ts";
import { FilterError, NoServerError, type UpstreamError } from "../core/errors.ts";
import { checkedKey } from "../limiter/key_spec.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Asks the pool's balancer for a server that has not failed this request yet, and counts the request in there; waits
 * while servers are full, if the pool has a queue. Who need not wait gets no promise.
 *
 * @param lastFailure why the request is sent again; thrown when there is no server left to send it to
 * @throws {NoServerError} 503 when the pool has no server that can be used, or none that had room in time
 * @throws {FilterError} when the function that makes the key throws
 */
export function selectServer(exchange: Exchange, lastFailure: UpstreamError | null): Claim | Promise<Claim> {
  const { pool: { key } } = exchange;
  if (key !== null && exchange.key === undefined) exchange.key = keyOf(exchange);
  const result = claimInTime(exchange);
  if (result instanceof Promise) return result.then((late) => take(exchange, late, lastFailure));
  return take(exchange, result, lastFailure);
}

/** Waits no longer than the whole exchange may take. */
function claimInTime(exchange: Exchange): Claim | Refusal | Promise<Claim | Refusal> {
  const { pool: { balancer }, cancellation, timeouts: { totalMs }, startedAt, runtime: { wheel } } = exchange;
  if (totalMs === Infinity) return balancer.claim(exchange, cancellation);
  const wait = new Cancellation();
  const result = balancer.claim(exchange, wait);
  if (!(result instanceof Promise)) return result;
  let late = false;
  const deadline = wheel.deadline(() => {
    late = true;
    wait.cancel(null);
  });
  deadline.set(totalMs, startedAt);
  const listener = cancellation.listen((reason) => wait.cancel(reason));
  return result.then((claimed) => {
    deadline.clear();
    listener[Symbol.dispose]();
    return late && claimed === "cancelled" ? "queue_timeout" : claimed;
  });
}

function keyOf(exchange: Exchange): string | undefined {
  try {
    return checkedKey(exchange.pool.key!(exchange) ?? null) ?? undefined;
  } catch (error) {
    throw new FilterError("key", error);
  }
}

function take(exchange: Exchange, result: Claim | Refusal, lastFailure: UpstreamError | null): Claim {
  if (typeof result !== "string") return result;
  exchange.throwIfCancelled();
  if (lastFailure !== null) throw lastFailure;
  const { name, retryAfterSeconds } = exchange.pool;
  throw new NoServerError(`No server of the pool "${name}" ${reasonOf(result)}`, retryAfterSeconds);
}

function reasonOf(refusal: Refusal): string {
  switch (refusal) {
    case "none_eligible":
      return "can be used";
    case "queue_full":
      return "has room, and no more requests may wait";
    case "queue_timeout":
      return "had room in time";
    case "cancelled":
      return "was waited for any longer";
  }
}
