/** What a filter is told about the request that it works on. */

import type { Random } from "../core/random.ts";
import type { ClientCertificate } from "../http/client_certificate.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Bytes } from "../http/message.ts";
import type { KeySource } from "../limiter/key_spec.ts";
import type { PolicyDecision } from "../limiter/policy.ts";
import type { RequestLog } from "../observe/observer.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Pool } from "../upstream/pool.ts";

/** The client as the proxy knows it. */
export interface ClientInfo {
  /**
   * Address of the client; `""` on a unix socket, and `"unknown"` where a trusted proxy says something of its client
   * that is no address.
   */
  readonly ip: string;
  /** Port of the client's end of the connection; 0 on a unix socket. */
  readonly port: number;
  /**
   * The certificate that the other end of the connection has shown, which is that of a proxy where one stands between; `null`
   * without one.
   */
  readonly certificate: ClientCertificate | null;
}

/** The server that a request was sent to. */
type ServerInfo = NonNullable<RequestContext["server"]>;

/** One try to get a response from a server. */
export type AttemptInfo = RequestContext["attempts"][number];

/** Moments of a request, in milliseconds since it arrived; `null` for what has not happened. */
export interface Timings {
  /** The first attempt began. */
  readonly upstreamStartMs: number | null;
  /** The head of the response came. */
  readonly upstreamHeadMs: number | null;
  /** When the last byte was sent, or the request ended otherwise. */
  readonly endMs: number | null;
}

/**
 * The second argument of every filter: one object from the first phase to `logging`.
 *
 * `State` is what `newContext` returned.
 */
export interface RequestContext<State = unknown> extends KeySource {
  /** The request's own state, made by `newContext`. */
  state: State;
  /** Who asks. */
  readonly client: {
    /**
     * Address of the client; `""` on a unix socket, and `"unknown"` where a trusted proxy says something of its client
     * that is no address.
     */
    readonly ip: string;
    /** Port of the client's end of the connection; 0 on a unix socket. */
    readonly port: number;
    /**
     * The certificate that the other end of the connection has shown, which is that of a proxy where one stands between; `null`
     * without one.
     */
    readonly certificate: ClientCertificate | null;
  };
  /** What the log calls the request: the id that `requestId()` has given it, otherwise its number in this process. */
  readonly requestId: string;
  /** Method of the client's request. */
  readonly method: string;
  /**
   * The path, without the query, in the form in which routes compare it; see {@linkcode PathMode}. A filter that protects
   * paths looks at {@linkcode RequestContext.otherPaths} as well.
   */
  readonly path: string;
  /**
   * Other ways in which servers may read the path, for most requests none: of `/a%2fb` it is `/a/b`. None where `paths` is
   * `"raw"`, and never more than a few dozen: a request with more gets 400.
   */
  readonly otherPaths: readonly string[];
  /** Name of the route that takes it; `null` where there are no routes, or none takes it. */
  readonly route: string | null;
  /** Where the request went last; `null` before a server was selected. */
  readonly server: {
    /** Name of the pool; `""` for a peer that `upstreamPeer` named outright. */
    readonly pool: string;
    /** The address as configured. */
    readonly address: string;
  } | null;
  /** Every try so far, the one that runs included. */
  readonly attempts: readonly {
    /** Name of the pool; `""` for a peer that `upstreamPeer` named outright. */
    readonly pool: string;
    /** The address as configured. */
    readonly address: string;
    /** Reason of the failure (`connection_refused`, ...); `null` when the server responded. */
    readonly failure: string | null;
  }[];
  /** What each policy decided that applies to the request, in the order of the configuration. */
  readonly limits: readonly PolicyDecision[];
  /** The pools by name, with their servers at the moment. */
  readonly pools: ReadonlyMap<string, Pool>;
  /** Status that the client got or is about to get; 0 before that is known. */
  readonly status: number;
  /** Bytes of content sent to the client so far. */
  readonly bytesSent: number;
  /** When things happened. */
  readonly timings: {
    /** The first attempt began. */
    readonly upstreamStartMs: number | null;
    /** The head of the response came. */
    readonly upstreamHeadMs: number | null;
    /** When the last byte was sent, or the request ended otherwise. */
    readonly endMs: number | null;
  };
  /** Writes into the proxy's log, with the id of the request. */
  readonly log: RequestLog;
  /**
   * Aborted when the response is no longer needed, because the client has gone or the proxy stops. Made at the first use,
   * which costs as much as a fast request.
   */
  readonly signal: AbortSignal;
  /** `false` forbids to send the request to another server after a failure; `true` leaves that to the proxy again. */
  retry(allowed: boolean): void;
}

// What ready-made filters get from the proxy in addition to the request.

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
