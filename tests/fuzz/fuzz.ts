/**
 * Feeds responses made by chance to the parser of `http1`: `deno task fuzz [inputs] [seed]`.
 *
 * Each is read whole and cut; both have to find the same, and nothing but the protocol error may be thrown.
 */

import { seededRandom } from "../../lib/core/random.ts";
import { type Reading, readInPieces } from "../support/read_in_pieces.ts";
import { makeCuts, makeResponse } from "./make_response.ts";

const DEFAULT_INPUTS = 100_000;
const METHODS = ["GET", "GET", "GET", "HEAD", "POST"] as const;

/** What so many inputs came to. */
export interface FuzzResult {
  /** How many ended each way. */
  outcomes: Record<Reading["outcome"], number>;
  /** How many different reasons there were to refuse one. */
  reasons: number;
  /** The longest that one input took. */
  slowestMs: number;
}

/**
 * Runs so many inputs.
 *
 * @throws {Error} with the seed of the first input that was read in two ways, or broke the reader
 */
export function fuzz(inputs: number, seed: number): FuzzResult {
  const outcomes = { complete: 0, open: 0, refused: 0 };
  const reasons = new Set<string>();
  let slowestMs = 0;
  for (let index = 0; index < inputs; index++) {
    const begin = performance.now();
    const { outcome, message } = fuzzOnce(seed + index);
    slowestMs = Math.max(slowestMs, performance.now() - begin);
    outcomes[outcome]++;
    reasons.add(message);
  }
  return { outcomes, reasons: reasons.size, slowestMs };
}

/** Runs the one input of this seed. */
function fuzzOnce(seed: number): Reading {
  const random = seededRandom(seed);
  const bytes = makeResponse(random);
  const method = METHODS[Math.floor(random() * METHODS.length)]!;
  const cuts = makeCuts(random, bytes.length);
  const describe = (what: string) =>
    `Seed ${seed}: ${what}; ${method}, ${
      JSON.stringify(new TextDecoder("latin1").decode(bytes))
    }, cut at ${cuts}`;
  try {
    const whole = readInPieces(bytes, [], method);
    const cut = readInPieces(bytes, cuts, method);
    if (JSON.stringify(whole) !== JSON.stringify(cut)) {
      throw new Error(`${JSON.stringify(whole)} when whole, ${JSON.stringify(cut)} when cut`);
    }
    return whole;
  } catch (error) {
    throw new Error(describe(String(error)), { cause: error });
  }
}

if (import.meta.main) {
  const [inputs = DEFAULT_INPUTS, seed = Math.floor(Math.random() * 2 ** 31)] = Deno.args.map(Number);
  // deno-lint-ignore no-console
  const say = console.log;
  say(`${inputs} inputs from seed ${seed}: deno task fuzz ${inputs} ${seed}`);
  const begin = performance.now();
  const { outcomes, reasons, slowestMs } = fuzz(inputs, seed);
  const seconds = (performance.now() - begin) / 1000;
  say(
    `${outcomes.complete} complete, ${outcomes.open} open, ${outcomes.refused} refused for ${reasons} reasons`,
  );
  say(`${seconds.toFixed(1)} s, the slowest input ${slowestMs.toFixed(1)} ms`);
}
