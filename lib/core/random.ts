/** Randomness as an argument: everything below `server/` takes a `Random`, so that tests can replay a run. */

/** Returns a number in [0, 1), like `Math.random`. */
export type Random = () => number;

/** The runtime's own generator. */
export const systemRandom: Random = (): number => Math.random();

/**
 * Makes a generator with the same numbers for the same seed (mulberry32).
 *
 * @param seed any integer; only its low 32 bits count
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
