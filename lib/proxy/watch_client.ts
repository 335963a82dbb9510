/** Notices that a client has gone while its request still runs. */

import type { Exchange } from "./exchange.ts";

/** How long a request runs before its client is watched. */
const WATCH_AFTER_MS = 100;

/**
 * Calls the exchange off once the client has gone.
 *
 * Touching `request.signal` costs as much as the rest of a fast request (measured: 9 us of 8.5), so only requests
 * that take long do. A client that has gone before that is noticed when the watch begins.
 */
export function watchClient(exchange: Exchange): void {
  const watch = exchange.runtime.wheel.deadline(() => {
    exchange.watchConnection();
  });
  exchange.watch = watch;
  watch.set(WATCH_AFTER_MS, exchange.upstreamStartAt);
}
