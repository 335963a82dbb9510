/** Splits requests between a few choices by weight. */

import type { Random } from "../core/random.ts";
import { fnv1a, fnv1aAgain, remainder } from "./fnv_hash.ts";

/** Number of parts that keys are spread over; a divisor for which the remainder is exact. */
const PLACES = 2 ** 24;

/** Takes one of a few choices by weight: at random, or always the same one for the same key. */
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
   * Takes one of the choices.
   *
   * When the weight of the last choice grows, keys move to it and none away from it.
   *
   * @param key gets the same choice as long as the weights stay; `null` is a choice at random
   */
  pick(key: string | null): Choice {
    const total = this.#ends.at(-1)!;
    // Hashed twice: after one time, keys that differ in their last character lie next to each other.
    const share = key === null ? this.#random() : remainder(fnv1aAgain(fnv1a(key)), PLACES) / PLACES;
    const place = share * total;
    let i = 0;
    while (i < this.#choices.length - 1 && place >= this.#ends[i]!) i++;
    return this.#choices[i]!;
  }
}
