/** Servers that `upstreamPeer` names outright, kept so that each has its connections. */

import { checkedPeer, type PeerOptions } from "../filter/resolve_peer.ts";
import { formatAddress } from "../upstream/address.ts";
import type { Peer } from "../upstream/peer.ts";
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
