/** Draws servers at random, by weight. */

import type { Random } from "../core/random.ts";
import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/** Weighted random: draws each server as often as its weight says, whatever was chosen before. */
export class WeightedRandom implements Algorithm {
  readonly #draw: WeightedDraw;

  constructor(random: Random) {
    this.#draw = new WeightedDraw(random);
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    const index = this.#draw.draw(candidates, selection);
    return index === -1 ? undefined : candidates.servers[index];
  }
}

/** An alias table: each draw costs two random numbers, whatever the number of weights (Vose, 1991). */
class AliasTable {
  readonly #threshold: Float64Array;
  readonly #alias: Int32Array;

  constructor(weights: Float64Array, totalWeight: number) {
    const count = weights.length;
    this.#threshold = Float64Array.from(weights, (weight) => (weight * count) / totalWeight);
    this.#alias = new Int32Array(count);
    const light: number[] = [];
    const heavy: number[] = [];
    for (let i = 0; i < count; i++) (this.#threshold[i]! < 1 ? light : heavy).push(i);
    while (light.length > 0 && heavy.length > 0) {
      const small = light.pop()!;
      const large = heavy.at(-1)!;
      this.#alias[small] = large;
      this.#threshold[large]! -= 1 - this.#threshold[small]!;
      if (this.#threshold[large]! < 1) light.push(heavy.pop()!);
    }
    // What rounding has left counts as full.
    for (const i of light) this.#threshold[i] = 1;
    for (const i of heavy) this.#threshold[i] = 1;
  }

  draw(random: Random): number {
    const index = Math.floor(random() * this.#threshold.length);
    return random() < this.#threshold[index]! ? index : this.#alias[index]!;
  }
}

/** How often to draw again when a server is not accepted, before looking at all servers. */
const TRIES = 8;

/** Draws candidates by weight, in constant time. */
export class WeightedDraw {
  readonly #random: Random;
  #candidates: Candidates | null = null;
  #table: AliasTable | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Draws the index of a candidate that is accepted and is not `other`; -1 when there is none. */
  draw(candidates: Candidates, selection: Selection, other = -1): number {
    if (candidates !== this.#candidates) this.#rebuild(candidates);
    const { servers } = candidates;
    if (servers.length === 0) return -1;
    for (let i = 0; i < TRIES; i++) {
      const index = this.#table === null
        ? Math.floor(this.#random() * servers.length)
        : this.#table.draw(this.#random);
      if (index !== other && selection.accepts(servers[index]!)) return index;
    }
    return this.#drawAccepted(candidates, selection, other);
  }

  /** Looks at all servers once: each accepted one replaces the choice with the probability of its weight. */
  #drawAccepted({ servers, weights }: Candidates, selection: Selection, other: number): number {
    let chosen = -1;
    let sum = 0;
    for (let i = 0; i < servers.length; i++) {
      if (i === other || !selection.accepts(servers[i]!)) continue;
      sum += weights[i]!;
      if (this.#random() * sum < weights[i]!) chosen = i;
    }
    return chosen;
  }

  #rebuild(candidates: Candidates): void {
    const { weights, totalWeight } = candidates;
    const equal = weights.every((weight) => weight === weights[0]);
    this.#table = equal ? null : new AliasTable(weights, totalWeight);
    this.#candidates = candidates;
  }
}
