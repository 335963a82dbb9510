/** Servers, and how long exchanges with them may take, as an operator writes them. */

import type { Duration } from "../core/duration.ts";
import type { UpstreamTlsOptions } from "../filter/resolve_peer.ts";
import type { Peer } from "../upstream/peer.ts";

/** A server with more to say than its address. */
export interface ServerOptions {
  /** `"host:port"`, `"https://host:port"` or `"unix:/path"`. */
  address: string;
  /** Share of the requests, beside the others': a whole number from 0 (none) to 65535. @default {1} */
  weight?: number;
  /** TLS towards this server; options are laid over those of the pool, `false` is plain text. @default {the pool's} */
  tls?: boolean | UpstreamTlsOptions;
  /** Only used when no server that is not a backup can be. @default {false} */
  backup?: boolean;
  /** Words of your own, for balancing functions and filters. @default {[]} */
  tags?: readonly string[];
  /** How many requests may run there at once. @default {Infinity} */
  maxInFlight?: number;
}

/** How long each part of an exchange with a server may take. */
export interface TimeoutOptions {
  /** TCP connection. @default {"3s"} */
  connect?: Duration;
  /** TLS handshake after it; `fetch`, which does not tell the two apart, takes `connect` for both. @default {as `connect`} */
  tls?: Duration;
  /** From the end of the request until the head of the response. @default {"30s"} */
  response?: Duration;
  /**
   * Between two pieces of a body, in either direction; whoever makes progress, however slow, is never cut off. Server-sent
   * events (`text/event-stream`) may pause for as long as they like, unless it is set. @default {"60s"}
   */
  idle?: Duration;
  /**
   * The whole exchange, from the arrival of the request to the end of the response: filters, waiting in a queue and all
   * attempts count, and what is left of it is all that an attempt gets. A WebSocket has only to be open by then. Without
   * it as long as it takes.
   */
  total?: Duration;
}

/** A server, complete. */
export interface ResolvedServer {
  /** The address as configured, without its scheme. */
  readonly id: string;
  readonly peer: Peer;
  readonly weight: number;
  readonly backup: boolean;
  readonly tags: readonly string[];
  readonly maxInFlight: number;
}
