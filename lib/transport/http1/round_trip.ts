/** One request on its way: what the pool and the connections know of it. */

import { ClientGoneError, ProxyError } from "../../core/errors.ts";
import type { OutgoingRequest, SendOptions, UpstreamResponse } from "../transport.ts";

/** A request, and the promise of its response. */
export class RoundTrip {
  readonly request: OutgoingRequest;
  readonly options: SendOptions;
  readonly response: Promise<UpstreamResponse>;
  /** Gives the response. */
  readonly resolve: (response: UpstreamResponse) => void;
  /** Gives up. */
  readonly reject: (error: ProxyError) => void;
  /** Whether it has been tried on a connection that was stale, so that it is not tried without end. */
  retried = false;
  /** When the whole exchange has to be over, in the clock's milliseconds. */
  dueAt = Infinity;
  /** What the clock says, as long as the turn lasts in which the request was handed over. */
  now: number | undefined = undefined;
  /** When it has waited too long for a connection, in the clock's milliseconds. */
  leavesQueueAt = 0;

  constructor(request: OutgoingRequest, options: SendOptions) {
    this.request = request;
    this.options = options;
    const { promise, resolve, reject } = Promise.withResolvers<UpstreamResponse>();
    this.response = promise;
    this.resolve = resolve;
    this.reject = reject;
  }

  /** Whether sending it a second time does no harm (RFC 9110 section 9.2.2) and is possible. */
  get repeatable(): boolean {
    const { method, body } = this.request;
    return (body === null || body.bytes !== null) && isIdempotent(method);
  }
}

function isIdempotent(method: string): boolean {
  switch (method) {
    case "GET":
    case "HEAD":
    case "OPTIONS":
    case "TRACE":
    case "PUT":
    case "DELETE":
      return true;
    default:
      return false;
  }
}

/** The error for an exchange that was called off. */
export function cancelledError(reason: unknown): ProxyError {
  return reason instanceof ProxyError ? reason : new ClientGoneError();
}
