/**
 * Feeds messages made by chance to the codec of HTTP/1.1: `deno task fuzz [inputs] [seed]`, as many responses as
 * connections of clients.
 *
 * Each is read whole and cut, and both have to find the same; nothing but the error of whoever sent it may be thrown. Of
 * requests a second, naive parser has to say the same.
 */

import { seededRandom } from "../../lib/core/random.ts";
import { readNaively } from "../support/naive_request_parser.ts";
import { latin1Text } from "../support/raw_connection.ts";
import { readInPieces } from "../support/read_in_pieces.ts";
import { readRequests } from "../support/read_requests.ts";
import { makeRequests } from "./make_request.ts";
import { makeCuts, makeResponse } from "./make_response.ts";

const DEFAULT_INPUTS = 100_000;
const METHODS = ["GET", "GET", "GET", "HEAD", "POST"] as const;

/** What so many inputs came to. */
export interface FuzzResult {
  /** How many ended each way. */
  outcomes: Record<string, number>;
  /** How many different reasons there were to refuse one. */
  reasons: number;
  /** How many messages were complete. */
  messages: number;
  /** The longest that one input took. */
  slowestMs: number;
}

/** What one input came to. */
interface Ending {
  outcome: string;
  reason: string;
  messages: number;
}

/**
 * Runs so many inputs.
 *
 * @throws {Error} with the seed of the first input that was read in two ways, or broke a reader
 */
export function fuzz(what: "requests" | "responses", inputs: number, seed: number): FuzzResult {
  const once = what === "requests" ? fuzzRequests : fuzzResponse;
  const outcomes: Record<string, number> = {};
  const reasons = new Set<string>();
  let messages = 0;
  let slowestMs = 0;
  for (let index = 0; index < inputs; index++) {
    const begin = performance.now();
    const ending = once(seed + index);
    slowestMs = Math.max(slowestMs, performance.now() - begin);
    outcomes[ending.outcome] = (outcomes[ending.outcome] ?? 0) + 1;
    reasons.add(ending.reason);
    messages += ending.messages;
  }
  return { outcomes, reasons: reasons.size, messages, slowestMs };
}

function fuzzResponse(seed: number): Ending {
  const random = seededRandom(seed);
  const bytes = makeResponse(random);
  const method = METHODS[Math.floor(random() * METHODS.length)]!;
  const cuts = makeCuts(random, bytes.length);
  return compared(`Seed ${seed}, ${method}`, bytes, cuts, () => {
    const whole = readInPieces(bytes, [], method);
    assertSame("whole", whole, "cut", readInPieces(bytes, cuts, method));
    const { outcome, message } = whole;
    return { outcome, reason: message, messages: outcome === "complete" ? 1 : 0 };
  });
}

function fuzzRequests(seed: number): Ending {
  const random = seededRandom(seed);
  const bytes = makeRequests(random);
  const cuts = makeCuts(random, bytes.length);
  return compared(`Seed ${seed}`, bytes, cuts, () => {
    const whole = readRequests(bytes);
    assertSame("whole", whole, "cut", readRequests(bytes, cuts));
    const { requests, end, message } = whole;
    assertSame("the codec", { requests, end }, "the naive parser", readNaively(latin1Text(bytes)));
    return { outcome: String(end), reason: message, messages: requests.length };
  });
}

function compared(name: string, bytes: Uint8Array, cuts: readonly number[], run: () => Ending): Ending {
  try {
    return run();
  } catch (error) {
    throw new Error(`${name}: ${error}; ${JSON.stringify(latin1Text(bytes))}, cut at ${cuts}`, {
      cause: error,
    });
  }
}

function assertSame(first: string, a: unknown, second: string, b: unknown): void {
  const [one, other] = [JSON.stringify(a), JSON.stringify(b)];
  if (one !== other) throw new Error(`${first} gave ${one}, ${second} ${other}`);
}

if (import.meta.main) {
  const [inputs = DEFAULT_INPUTS, seed = Math.floor(Math.random() * 2 ** 31)] = Deno.args.map(Number);
  // deno-lint-ignore no-console
  const say = console.log;
  say(`${inputs} inputs of each kind from seed ${seed}: deno task fuzz ${inputs} ${seed}`);
  for (const what of ["responses", "requests"] as const) {
    const begin = performance.now();
    const { outcomes, reasons, messages, slowestMs } = fuzz(what, inputs, seed);
    const seconds = (performance.now() - begin) / 1000;
    const ends = Object.entries(outcomes).map(([outcome, count]) => `${count} ${outcome}`).join(", ");
    say(`${what}: ${ends}; ${messages} complete messages, ${reasons} reasons to refuse one`);
    say(`${what}: ${seconds.toFixed(1)} s, the slowest input ${slowestMs.toFixed(1)} ms`);
  }
}
