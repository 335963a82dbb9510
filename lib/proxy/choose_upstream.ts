/** Lets the configuration say where a request goes. */

import { FilterError } from "../core/errors.ts";
import { checkedPeer, type PeerOptions } from "../filter/resolve_peer.ts";
import { formatAddress } from "../upstream/address.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Exchange } from "./exchange.ts";
import type { PoolRuntime } from "./proxy_runtime.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Asks `upstreamPeer` once, and sets the exchange's pool, or its peer when one was named outright.
 *
 * @throws {FilterError} when it throws, rejects, or names what does not exist
 */
export function chooseUpstream(exchange: Exchange): void | Promise<void> {
  const { upstreamPeer } = exchange.filters;
  if (upstreamPeer === undefined) return;
  exchange.delayed = true;
  const named = runFilter("upstreamPeer", upstreamPeer, exchange.request, exchange);
  return named instanceof Promise
    ? named.then((late) => takePeer(exchange, late))
    : takePeer(exchange, named);
}

function takePeer(exchange: Exchange, named: string | PeerOptions | void): void {
  exchange.throwIfCancelled();
  try {
    if (typeof named === "string") exchange.pool = poolNamed(exchange, named);
    else if (named !== undefined && named !== null) exchange.namedPeer = peerNamed(exchange, named);
  } catch (error) {
    throw new FilterError("upstreamPeer", error);
  }
}

function poolNamed(exchange: Exchange, name: string): PoolRuntime {
  const { pools } = exchange.runtime;
  const pool = pools.get(name);
  if (pool !== undefined) return pool;
  const known = [...pools.keys()].map((each) => `"${each}"`).join(", ");
  throw new TypeError(`Cannot use the pool "${name}": there are ${known}`);
}

function peerNamed({ runtime: { namedPeers } }: Exchange, options: PeerOptions): NamedPeer {
  if (typeof options?.address === "string") return namedPeers.get(options);
  throw new TypeError(
    `it must return the name of a pool, { address, tls } or nothing, returned ${found(options)}`,
  );
}

function found(value: unknown): string {
  return typeof value === "object" ? `an object without "address"` : typeof value;
}

/** A server that belongs to no pool. */
export interface NamedPeer {
  readonly peer: Peer;
  /** As it stands in the log. */
  readonly address: string;
}

/** What {@linkcode NamedPeers} takes. */
interface NamedPeersOptions {
  /** Told of a peer that is not kept any longer. */
  readonly onForget: (peer: Peer) => void;
  /** How many are kept; the one that was unused for longest goes first. @default {1000} */
  readonly maxPeers?: number;
}

/** Gives the same peer for the same options, because connections are kept by the peer. */
export class NamedPeers {
  readonly #peers = new Map<string, NamedPeer>();
  readonly #onForget: (peer: Peer) => void;
  readonly #maxPeers: number;

  constructor({ onForget, maxPeers = 1000 }: NamedPeersOptions) {
    this.#onForget = onForget;
    this.#maxPeers = maxPeers;
  }

  /**
   * The peer for what a filter returned.
   *
   * @throws {TypeError} when the address cannot be read
   */
  get(options: PeerOptions): NamedPeer {
    const key = JSON.stringify([options.address, options.tls]);
    let named = this.#peers.get(key);
    if (named === undefined) {
      const peer = checkedPeer(options.address, options.tls);
      named = { peer, address: formatAddress(peer.address) };
    } else {
      this.#peers.delete(key);
    }
    this.#peers.set(key, named);
    if (this.#peers.size > this.#maxPeers) this.#forgetOldest();
    return named;
  }

  #forgetOldest(): void {
    for (const [key, { peer }] of this.#peers) {
      this.#peers.delete(key);
      this.#onForget(peer);
      return;
    }
  }
}
