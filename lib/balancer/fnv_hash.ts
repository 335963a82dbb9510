/** The same server for the same key, as long as the list stays the same. */

import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { fnv1a, fnv1aAgain, remainder } from "./fnv1a.ts";
import { SmoothWeightedRoundRobin } from "./smooth_weighted_round_robin.ts";

/** Weights that are no whole numbers count to this fraction. */
const FRACTION = 1000;

/**
 * The remainder of the key's FNV-1a hash (64 bits) picks a place in a list in which each server stands as often as its
 * weight says. Cheap and even, but a server that is added or removed moves most keys: see {@linkcode ConsistentHash}.
 *
 * A key whose server cannot be used is hashed again, so the keys of other servers stay. Without a key servers take turns.
 */
export class FnvHash implements Algorithm {
  readonly #turns = new SmoothWeightedRoundRobin();
  #candidates: Candidates | null = null;
  #members: readonly Server[] = [];
  #usable = new Set<Server>();
  /** Where the places of each member end. */
  #ends = new Float64Array(0);

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (selection.key === undefined) return this.#turns.pick(candidates, selection);
    if (candidates !== this.#candidates) this.#refresh(candidates);
    if (candidates.servers.length === 0) return undefined;
    let hash = fnv1a(selection.key);
    const first = this.#at(remainder(hash, this.#ends.at(-1)!));
    if (this.#usable.has(first) && selection.accepts(first)) return first;
    const tried = new Set([first]);
    for (let tries = 4 * this.#members.length; tries > 0; tries--) {
      hash = fnv1aAgain(hash);
      const server = this.#at(remainder(hash, this.#ends.at(-1)!));
      if (tried.has(server)) continue;
      tried.add(server);
      if (this.#usable.has(server) && selection.accepts(server)) return server;
    }
    return candidates.servers.find((server) => !tried.has(server) && selection.accepts(server));
  }

  /** The member that a place belongs to. */
  #at(place: number): Server {
    let low = 0;
    let high = this.#ends.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle]! <= place) low = middle + 1;
      else high = middle;
    }
    return this.#members[low]!;
  }

  #refresh(candidates: Candidates): void {
    const { members, servers } = candidates;
    this.#candidates = candidates;
    this.#usable = new Set(servers);
    if (members === this.#members) return;
    const scale = members.every(({ weight }) => Number.isInteger(weight)) ? 1 : FRACTION;
    let end = 0;
    this.#ends = Float64Array.from(members, ({ weight }) => end += Math.ceil(weight * scale));
    this.#members = members;
  }
}
