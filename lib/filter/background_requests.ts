/** Requests that a filter has the proxy send, and for whose responses no client waits. */

import type { HeaderFields } from "../http/header_fields.ts";
import type { Bytes } from "../http/message.ts";
import type { Peer } from "../upstream/peer.ts";

/** A request with all of its content. */
export interface BackgroundRequest {
  readonly method: string;
  /** Path and query as they are sent. */
  readonly target: string;
  /** Fields, as they are sent; those of framing are the transport's. */
  readonly headers: HeaderFields;
  readonly content: Bytes | null;
}

/** Sends requests beside those of clients. A filter has neither connections nor a clock of its own: nobody would end them. */
export interface BackgroundRequests {
  /**
   * Sends a request over HTTP/1.1, on a connection of its own, and drops the response; resolves once all of that has come.
   *
   * @param timeoutMs how long the whole exchange may take
   * @throws {ProxyError} when it fails, is too late, or the proxy stops
   */
  send(request: BackgroundRequest, peer: Peer, timeoutMs: number): Promise<void>;
}

/** Where a filter finds them in its context. */
export const BACKGROUND_REQUESTS: unique symbol = Symbol("backgroundRequests");

/** What the context of a request has for filters of the proxy's own. */
export interface BackgroundContext {
  /** Lasts as long as the proxy does, which may be longer than the request. */
  readonly [BACKGROUND_REQUESTS]: BackgroundRequests;
}
