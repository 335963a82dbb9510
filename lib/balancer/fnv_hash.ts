/** FNV hashes of keys: to choose servers, and to split requests by weight. */

import type { Random } from "../core/random.ts";
import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { createRoundRobin, type SharedTurns } from "./smooth_weighted_round_robin.ts";

/** Weights that are not whole numbers are counted in thousandths. */
const FRACTION = 1000;

/**
 * The remainder of the key's FNV-1a hash (64 bits) is the index into a list that contains each server as often as its
 * weight. Cheap and even, but adding or removing a server moves most keys: see {@linkcode ConsistentHash}.
 *
 * If the server of a key cannot be used, hashes the key again, so that the keys of other servers do not move. Requests
 * without a key use round robin.
 */
export class FnvHash implements Algorithm {
  readonly #turns: Algorithm;
  #candidates: Candidates | null = null;
  #members: readonly Server[] = [];
  /** Per member: whether it is a candidate now. */
  #usable = new Uint8Array(0);
  /** Per member: the end of its entries in the list. */
  #ends = new Float64Array(0);

  /** @param turns round-robin turns for requests without a key, if several processes share them */
  constructor(turns: SharedTurns | null = null) {
    this.#turns = createRoundRobin(turns);
  }

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

  /** The index of the member at an entry of the list. */
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

/** A hash of 64 bits, in two halves because numbers are exact to 53 bits only. */
export interface Hash64 {
  readonly high: number;
  readonly low: number;
}

/** Lower part of the FNV prime, which is 2^40 + 0x1b3. */
const PRIME_LOW = 0x1b3;

/** FNV-1a of bytes, or of a text as UTF-8. */
export function fnv1a(data: string | Uint8Array): Hash64 {
  let high = 0xcbf29ce4 | 0;
  let low = 0x84222325 | 0;
  const text = typeof data === "string";
  for (let i = 0; i < data.length; i++) {
    const unit = text ? data.charCodeAt(i) : data[i]!;
    if (unit > 0x7f && text) return fnv1a(new TextEncoder().encode(data));
    low ^= unit;
    // The carry into the upper half, by products of 16 bits: one product of 41 bits takes three times as long.
    const carry = ((low >>> 16) * PRIME_LOW + (((low & 0xffff) * PRIME_LOW) >>> 16)) >>> 16;
    high = (Math.imul(high, PRIME_LOW) + carry + (low << 8)) | 0;
    low = Math.imul(low, PRIME_LOW);
  }
  return { high: high >>> 0, low: low >>> 0 };
}

/** FNV-1a of a hash, as eight bytes, little-endian. */
export function fnv1aAgain({ high, low }: Hash64): Hash64 {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, low, true);
  view.setUint32(4, high, true);
  return fnv1a(bytes);
}

/** The remainder of a hash; exact for divisors up to 2^26. */
export function remainder({ high, low }: Hash64, divisor: number): number {
  if (divisor > 0x10000) return ((high % divisor) * (2 ** 32 % divisor) + low) % divisor;
  // With pieces of 16 bits, all numbers fit into 32 bits, whose remainders cost a tenth.
  const upper = (high >>> 0) % divisor;
  const middle = (((upper << 16) | (low >>> 16)) >>> 0) % divisor;
  return (((middle << 16) | (low & 0xffff)) >>> 0) % divisor;
}

// Splits requests between a few choices, by weight.

/** Number of parts that keys are distributed over; the remainder is exact for this divisor. */
const PLACES = 2 ** 24;

/** Selects one of a few choices by weight: at random, or the same one for the same key. */
export class Split<Choice> {
  readonly #choices: readonly Choice[];
  readonly #ends: readonly number[];
  readonly #random: Random;

  /** @param weights choices and their weights; at least one weight is above 0 */
  constructor(weights: readonly (readonly [Choice, number])[], random: Random) {
    const wanted = weights.filter(([, weight]) => weight > 0);
    let end = 0;
    this.#choices = wanted.map(([choice]) => choice);
    this.#ends = wanted.map(([, weight]) => end += weight);
    this.#random = random;
  }

  /**
   * Selects one of the choices.
   *
   * If the weight of the last choice grows, keys move only to it, not away from it.
   *
   * @param key has the same choice as long as the weights do not change; `null` selects at random
   */
  pick(key: string | null): Choice {
    const total = this.#ends.at(-1)!;
    // Hashed twice: after one hash, keys that differ only in their last character have similar values.
    const share = key === null ? this.#random() : remainder(fnv1aAgain(fnv1a(key)), PLACES) / PLACES;
    const place = share * total;
    let i = 0;
    while (i < this.#choices.length - 1 && place >= this.#ends[i]!) i++;
    return this.#choices[i]!;
  }
}
