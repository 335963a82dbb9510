/** Choosing by chance. */

import type { Random } from "../core/random.ts";
import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { WeightedDraw } from "./weighted_draw.ts";

/** Weighted random: each server as often as its weight says, with no memory of what came before. */
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
