/** Text made by chance of pieces that matter. */

import type { Random } from "../../lib/core/random.ts";

/** One of several. */
export function oneOf<Item>(random: Random, items: readonly Item[]): Item {
  return items[Math.floor(random() * items.length)]!;
}

/** Up to so many pieces, one behind the other. */
export function textOf(random: Random, pieces: readonly string[], most: number): string {
  let text = "";
  for (let left = Math.floor(random() * (most + 1)); left > 0; left--) text += oneOf(random, pieces);
  return text;
}
