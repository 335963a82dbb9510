/** Takes hold of the content of a request. */

import { StreamBody } from "../http/bodies.ts";
import type { Exchange } from "./exchange.ts";
import { KEPT_BYTES, KeptBody } from "./kept_body.ts";

/**
 * Sets the exchange's body, which is read as a server takes it; what came so far can be sent again.
 */
export function takeContent(exchange: Exchange): void {
  const { stream, shownRequest } = exchange;
  if (stream.body === null) return;
  // A filter that reads a copy of the content has it read once for both.
  const shown = shownRequest !== null && shownRequest.touched ? shownRequest.body : null;
  const source = shown === null ? stream.body : new StreamBody(shown, stream.body.length);
  exchange.body = new KeptBody(source, { maxKeptBytes: keptBytesFor(exchange) });
  exchange.delayed = true;
}

/**
 * Waits for the content where the pool wants its servers spared slow clients: for all of it, or as much as may be kept.
 *
 * @throws {ProxyError} when it is too slow, or breaks off
 */
export function holdContent(exchange: Exchange): void | Promise<void> {
  const { body, pool: { bufferBytes }, namedPeer, cancellation } = exchange;
  if (bufferBytes === 0 || namedPeer !== null || !(body instanceof KeptBody) || body.whole !== null) return;
  return new Promise((resolve, reject) => {
    // A read that is pending does not end before its client does.
    const listener = cancellation.listen(reject);
    body.hold(bufferBytes).then(resolve, reject).finally(() => listener[Symbol.dispose]());
  });
}

/** How much is kept: what a server that cannot be connected to has not got must still be there for the next one. */
export function keptBytesFor({ pool: { transport: { readsAheadBytes = 0 } }, retries }: Exchange): number {
  return Math.max(retries?.policy.bodyLimitBytes ?? KEPT_BYTES, readsAheadBytes);
}
