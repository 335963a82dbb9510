/** The whole exchange may take so long and no longer. */

import { UpstreamError } from "../core/errors.ts";
import type { Exchange } from "./exchange.ts";

/** The time of the exchange was over while nothing was on its way to a server; of filters, for one. */
export class LateError extends UpstreamError {
  constructor() {
    super("The exchange took longer than it may before it was sent to a server", {
      code: "http_response_timeout",
      phase: "unsent",
    });
  }
}

/** Whether the exchange has taken as long as it may; the client's content and filters count. */
export function isLate({ timeouts: { totalMs }, startedAt, runtime }: Exchange): boolean {
  return totalMs !== Infinity && runtime.clock.now() - startedAt >= totalMs;
}
