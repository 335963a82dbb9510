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
  /** For each member, whether it is a candidate now. */
  #usable = new Uint8Array(0);
  /** Where the places of each member end. */
  #ends = new Float64Array(0);

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (selection.key === undefined) return this.#turns.pick(candidates, selection);
    if (candidates !== this.#candidates) this.#refresh(candidates);
    if (candidates.servers.length === 0) return undefined;
    let hash = fnv1a(selection.key);
    const places = this.#ends[this.#ends.length - 1]!;
    const first = this.#at(remainder(hash, places));
    if (this.#accepts(first, selection)) return this.#members[first];
    const tried = new Set([this.#members[first]!]);
    for (let tries = 4 * this.#members.length; tries > 0; tries--) {
      hash = fnv1aAgain(hash);
      const index = this.#at(remainder(hash, places));
      const server = this.#members[index]!;
      if (tried.has(server)) continue;
      tried.add(server);
      if (this.#accepts(index, selection)) return server;
    }
    return candidates.servers.find((server) => !tried.has(server) && selection.accepts(server));
  }

  #accepts(index: number, selection: Selection): boolean {
    return this.#usable[index] === 1 && selection.accepts(this.#members[index]!);
  }

  /** Position of the member that a place belongs to. */
  #at(place: number): number {
    let low = 0;
    let high = this.#ends.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle]! <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #refresh(candidates: Candidates): void {
    const { members, servers } = candidates;
    this.#candidates = candidates;
    const usable = new Set(servers);
    this.#usable = Uint8Array.from(members, (member) => usable.has(member) ? 1 : 0);
    if (members === this.#members) return;
    const scale = members.every(({ weight }) => Number.isInteger(weight)) ? 1 : FRACTION;
    let end = 0;
    this.#ends = Float64Array.from(members, ({ weight }) => end += Math.ceil(weight * scale));
    this.#members = members;
  }
}
