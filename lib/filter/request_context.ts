/** The context of a request for filters. */

import type { Random } from "../core/random.ts";
import type { ClientCertificate } from "../http/client_certificate.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Bytes } from "../http/message.ts";
import type { KeySource } from "../limiter/key_spec.ts";
import type { PolicyDecision } from "../limiter/policy.ts";
import type { RequestLog } from "../observe/observer.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Pool } from "../upstream/pool.ts";

/** The client of a request. */
export interface ClientInfo {
  /**
   * Address of the client; `""` on a unix socket, and `"unknown"` if a trusted proxy sends something that is not an
   * address.
   */
  readonly ip: string;
  /** Port of the client's side of the connection; 0 on a unix socket. */
  readonly port: number;
  /**
   * The client certificate of the connection, which is that of a proxy if there is one in between; `null` without one.
   */
  readonly certificate: ClientCertificate | null;
}

/** The server to which a request was sent. */
type ServerInfo = NonNullable<RequestContext["server"]>;

/** One attempt to get a response from a server. */
export type AttemptInfo = RequestContext["attempts"][number];

/** Times of a request, in milliseconds since it arrived; `null` for events that have not happened. */
export interface Timings {
  /** Start of the first attempt. */
  readonly upstreamStartMs: number | null;
  /** Arrival of the head of the response. */
  readonly upstreamHeadMs: number | null;
  /** When the last byte was sent, or the request ended otherwise. */
  readonly endMs: number | null;
}

/**
 * The second argument of every filter: the same object from the first phase to `logging`.
 *
 * `State` is the type of the result of `newContext`.
 */
export interface RequestContext<State = unknown> extends KeySource {
  /** The state of the request, made by `newContext`. */
  state: State;
  /** The client. */
  readonly client: {
    /**
     * Address of the client; `""` on a unix socket, and `"unknown"` if a trusted proxy sends something that is not an
     * address.
     */
    readonly ip: string;
    /** Port of the client's side of the connection; 0 on a unix socket. */
    readonly port: number;
    /**
     * The client certificate of the connection, which is that of a proxy if there is one in between; `null` without
     * one.
     */
    readonly certificate: ClientCertificate | null;
  };
  /** The name of the request in the log: the id of `requestId()`, otherwise its number, with workers behind that of its process (`3-1k`). */
  readonly requestId: string;
  /** Method of the client's request. */
  readonly method: string;
  /**
   * The path, without the query, in the form that routes compare; see {@linkcode PathMode}. A filter that protects
   * paths must also check {@linkcode RequestContext.otherPaths}.
   */
  readonly path: string;
  /**
   * Other ways in which servers may read the path, for most requests none: for `/a%2fb` it is `/a/b`. None if `paths`
   * is `"raw"`, and never more than a few dozen: a request with more gets 400.
   */
  readonly otherPaths: readonly string[];
  /** Name of the matched route; `null` without routes, or if none matches. */
  readonly route: string | null;
  /** The server of the last attempt; `null` before a server was selected. */
  readonly server: {
    /** Name of the pool; `""` for a peer that `upstreamPeer` named directly. */
    readonly pool: string;
    /** The address as configured. */
    readonly address: string;
  } | null;
  /** All attempts so far, including the current one. */
  readonly attempts: readonly {
    /** Name of the pool; `""` for a peer that `upstreamPeer` named directly. */
    readonly pool: string;
    /** The address as configured. */
    readonly address: string;
    /** Reason of the failure (`connection_refused`, ...); `null` when the server responded. */
    readonly failure: string | null;
  }[];
  /** The decision of each policy that applies to the request, in the order of the configuration. */
  readonly limits: readonly PolicyDecision[];
  /** The pools by name, with their current servers. */
  readonly pools: ReadonlyMap<string, Pool>;
  /** Status of the response to the client, sent or about to be sent; 0 before it is known. */
  readonly status: number;
  /** Bytes of content sent to the client so far. */
  readonly bytesSent: number;
  /** Times of events. */
  readonly timings: {
    /** Start of the first attempt. */
    readonly upstreamStartMs: number | null;
    /** Arrival of the head of the response. */
    readonly upstreamHeadMs: number | null;
    /** When the last byte was sent, or the request ended otherwise. */
    readonly endMs: number | null;
  };
  /** Writes to the proxy's log, with the id of the request. */
  readonly log: RequestLog;
  /**
   * Aborted when the response is no longer needed, because the client has disconnected or the proxy stops, and when
   * `timeouts.total` ends the wait for a filter. Made at the first use, which costs as much as a fast request.
   */
  readonly signal: AbortSignal;
  /** `false` forbids sending the request to another server after a failure; `true` lets the proxy decide again. */
  retry(allowed: boolean): void;
}

// Services of the proxy for ready-made filters.

/** A request without a waiting client, with its complete content. */
export interface BackgroundRequest {
  readonly method: string;
  /** Path and query as sent. */
  readonly target: string;
  /** Fields, as sent; the transport adds the framing fields. */
  readonly headers: HeaderFields;
  readonly content: Bytes | null;
}

/**
 * Services that a filter must not create: the proxy ends them, and tests replace them.
 *
 * They exist as long as the proxy, which may be longer than the request.
 */
export interface FilterServices {
  readonly random: Random;
  /**
   * Sends a request over HTTP/1.1, on a separate connection, and drops the response; resolves after its last byte.
   *
   * @param timeoutMs timeout of the whole exchange
   * @throws {ProxyError} when it fails, times out, or the proxy stops
   */
  sendInBackground(request: BackgroundRequest, peer: Peer, timeoutMs: number): Promise<void>;
}

/** Key of the services in a context. */
export const FILTER_SERVICES: unique symbol = Symbol("filterServices");

/** The context of a request for ready-made filters. */
export interface ServiceContext {
  readonly [FILTER_SERVICES]: FilterServices;
  /** How the client has connected: to this proxy, or to the trusted proxy that reports it. */
  readonly identity: { readonly scheme: string };
}

/** The services of the proxy that handles a request. */
export function servicesOf(ctx: object): FilterServices {
  return (ctx as ServiceContext)[FILTER_SERVICES];
}

/** The scheme that the client has used, also where a trusted proxy in front has ended TLS. */
export function schemeOf(ctx: object): string {
  return (ctx as ServiceContext).identity.scheme;
}
