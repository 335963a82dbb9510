/** Draws two servers and takes the less busy one. */

import type { Random } from "../core/random.ts";
import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { WeightedDraw } from "./weighted_random.ts";

/**
 * Power of two choices: draws two different servers by weight and takes the one with fewer requests in flight for its
 * weight, or the first when they are equal.
 *
 * Nearly as even as comparing all servers, at the cost of two, and several proxies do not all choose the same server
 * (Mitzenmacher, 2001).
 */
export class PowerOfTwoChoices implements Algorithm {
  readonly #draw: WeightedDraw;

  constructor(random: Random) {
    this.#draw = new WeightedDraw(random);
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    const { servers, weights } = candidates;
    const first = this.#draw.draw(candidates, selection);
    if (first === -1) return undefined;
    const one = servers[first]!;
    if (servers.length === 1) return one;
    const second = this.#draw.draw(candidates, selection, first);
    if (second === -1) return one;
    const other = servers[second]!;
    return other.inFlight * weights[first]! < one.inFlight * weights[second]! ? other : one;
  }
}
