/** The proxy's HTTP/2 client: many requests on a connection, and trailers in both directions, without `fetch`. */

import type { Clock } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/cancellation.ts";
import { BufferShelf } from "../../http1/head_writer.ts";
import { writeProxyHeader } from "../../http1/proxy_protocol.ts";
import { HeadShelf } from "../../http2/received_head.ts";
import type { ConnectionMeter } from "../../observe/metrics/meters.ts";
import type { Peer } from "../../upstream/peer.ts";
import { clientOf, closedError, Http1Transport } from "../http1/http1_transport.ts";
import { cancelledError } from "../http1/server_content.ts";
import type { OutgoingRequest, SendOptions, Transport } from "../transport.ts";
import { ConnectionGroup, type GroupParts, type Http2Limits } from "./connection_group.ts";

/** Options of an {@linkcode Http2Transport}. */
interface Http2TransportOptions {
  clock: Clock;
  wheel: DeadlineWheel;
  /** Limits of the connections to each server. */
  connections?: Partial<Http2Limits>;
  /** Counters of the connections to a server. @default {none} */
  meterOf?: (peer: Peer) => ConnectionMeter | undefined;
}

/**
 * Speaks only HTTP/2: by ALPN over TLS, by prior knowledge over TCP and unix sockets.
 *
 * A WebSocket is opened by an extended CONNECT if the SETTINGS of the server allow that (RFC 8441), otherwise by
 * HTTP/1.1.
 *
 * A request that the server has not processed (REFUSED_STREAM, GOAWAY with a lower stream) is sent once more, with
 * any method. A request whose kept connection failed before any part of a response is sent once more when it may be
 * repeated (RFC 9110 section 9.2.2).
 */
export class Http2Transport implements Transport {
  readonly carriesTrailers = true;
  readonly #parts: GroupParts;
  /** By peer; then by client, where connections begin with a PROXY header. */
  readonly #groups = new Map<Peer, Map<string, ConnectionGroup>>();
  // Groups of forgotten peers, until their last request has ended.
  readonly #retired = new Set<ConnectionGroup>();
  readonly #meterOf: (peer: Peer) => ConnectionMeter | undefined;
  #http1: Http1Transport | null = null;
  #disposed = false;

  constructor({ clock, wheel, connections = {}, meterOf = () => undefined }: Http2TransportOptions) {
    this.#meterOf = meterOf;
    const { maxIdle = 256, idleTimeoutMs = 4000, maxStreams = 100 } = connections;
    this.#parts = {
      clock,
      wheel,
      shelf: new BufferShelf(),
      heads: new HeadShelf(),
      limits: { maxIdle, idleTimeoutMs, maxStreams },
      exchanges: [],
    };
  }

  send(request: OutgoingRequest, peer: Peer, options: SendOptions, now?: number): void {
    const { startedAt, cancellation, timeouts: { totalMs } } = options;
    if (cancellation.cancelled) return options.failed(cancelledError(cancellation.reason));
    if (this.#disposed) return options.failed(closedError(peer));
    const at = now ?? this.#parts.clock.now();
    const dueAt = totalMs === Infinity ? Infinity : (startedAt ?? at) + totalMs;
    const trip = { request, options, dueAt, retried: false };
    if (request.upgrade !== true) return this.#group(peer, request).submit(trip, at);
    const byHttp1 = (): void => this.#upgrades().send(request, peer, options);
    if (request.headers.get("upgrade") !== "websocket") return byHttp1();
    this.#group(peer, request).submit({ ...trip, byHttp1 }, at);
  }

  // Upgrades exist only in HTTP/1.1 (RFC 9113 section 8.6); many HTTP/2 servers accept WebSockets only there.
  #upgrades(): Http1Transport {
    const { clock, wheel, limits: { maxIdle, idleTimeoutMs } } = this.#parts;
    const connections = { maxIdle, idleTimeoutMs };
    return this.#http1 ??= new Http1Transport({ clock, wheel, connections, meterOf: this.#meterOf });
  }

  #group(peer: Peer, { addresses = null }: OutgoingRequest): ConnectionGroup {
    let byClient = this.#groups.get(peer);
    if (byClient === undefined) this.#groups.set(peer, byClient = new Map());
    const { sendProxyProtocol: version } = peer;
    const client = version === undefined ? "" : clientOf(addresses);
    let group = byClient.get(client);
    if (group === undefined) {
      const preface = version === undefined ? null : writeProxyHeader(version, addresses);
      // Groups of clients are removed when empty; groups of servers stay.
      const onEmpty = (): void => void (version !== undefined && byClient.delete(client));
      group = new ConnectionGroup({
        peer,
        parts: this.#parts,
        preface,
        onEmpty,
        idleOfPeer: version === undefined ? null : () => idleOf(byClient),
        meter: this.#meterOf(peer) ?? null,
      });
      byClient.set(client, group);
    }
    return group;
  }

  /** How many connections to the peer are open, those for WebSockets too, and how many of these are idle. */
  connectionsOf(peer: Peer): { open: number; idle: number } {
    let { open, idle } = this.#http1?.connectionsOf(peer) ?? { open: 0, idle: 0 };
    const groups = this.#groups.get(peer);
    if (groups === undefined) return { open, idle };
    for (const group of groups.values()) open += group.size;
    idle += idleOf(groups);
    return { open, idle };
  }

  forget(peer: Peer): void {
    this.#http1?.forget(peer);
    const groups = this.#groups.get(peer)?.values() ?? [];
    this.#groups.delete(peer);
    for (const retired of this.#retired) {
      if (retired.size === 0) this.#retired.delete(retired);
    }
    for (const group of groups) {
      group.retire();
      if (group.size > 0) this.#retired.add(group);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#http1?.[Symbol.dispose]();
    for (const groups of this.#groups.values()) {
      for (const group of groups.values()) group[Symbol.dispose]();
    }
    for (const group of this.#retired) group[Symbol.dispose]();
    this.#groups.clear();
    this.#retired.clear();
  }
}

function idleOf(groups: ReadonlyMap<string, ConnectionGroup>): number {
  let idle = 0;
  for (const group of groups.values()) idle += group.idle;
  return idle;
}
