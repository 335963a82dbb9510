/** The whole exchange may take so long and no longer. */

import { UpstreamError } from "../core/errors.ts";
import type { Exchange } from "./exchange.ts";

/** The time of the exchange was over while it was with no server; with a filter, for one. */
export class LateError extends UpstreamError {
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
export function isLate({ timeouts: { totalMs }, startedAt, runtime }: Exchange): boolean {
  return totalMs !== Infinity && runtime.clock.now() - startedAt >= totalMs;
}
