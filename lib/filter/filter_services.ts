/** What ready-made filters have of the proxy beside the request. */

import type { Random } from "../core/random.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Bytes } from "../http/message.ts";
import type { Peer } from "../upstream/peer.ts";

/** A request that no client waits for, with all of its content. */
export interface BackgroundRequest {
  readonly method: string;
  /** Path and query as they are sent. */
  readonly target: string;
  /** Fields, as they are sent; those of framing are the transport's. */
  readonly headers: HeaderFields;
  readonly content: Bytes | null;
}

/**
 * What a filter must not make itself: nobody would end it, or replace it in a test.
 *
 * It lasts as long as the proxy, which may be longer than the request.
 */
export interface FilterServices {
  readonly random: Random;
  /**
   * Sends a request over HTTP/1.1, on a connection of its own, and drops the response; resolves once all of that has come.
   *
   * @param timeoutMs how long the whole exchange may take
   * @throws {ProxyError} when it fails, is too late, or the proxy stops
   */
  sendInBackground(request: BackgroundRequest, peer: Peer, timeoutMs: number): Promise<void>;
}

/** Where a context has them. */
export const FILTER_SERVICES: unique symbol = Symbol("filterServices");

/** The context of a request, as filters of the proxy's own know it. */
export interface ServiceContext {
  readonly [FILTER_SERVICES]: FilterServices;
}

/** The services of the proxy that a request is in. */
export function servicesOf(ctx: object): FilterServices {
  return (ctx as ServiceContext)[FILTER_SERVICES];
}
