/** The command line of `deno task bench:proxy`. */

import { parseArgs } from "@std/cli/parse-args";
import { ALL_PEERS } from "./all_peers.ts";
import type { Peer } from "./peer.ts";
import { type Scenario, SCENARIOS } from "./scenarios.ts";

/** The options of a run. */
export interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly peers: readonly Peer[];
  readonly scenarios: readonly Scenario[];
  /** Path of the result files, without the extension; `null` if results are only printed. */
  readonly output: string | null;
}

/** The text of `--help`. */
export const HELP = `deno task bench:proxy [options]

  --rounds N        how often everything is measured (5)
  --seconds N       how long each measurement takes (2)
  --connections N   of the client (64)
  --peers A,B       of ${ALL_PEERS.map(({ name }) => name).join(", ")}
  --bodies A,B      of ${SCENARIOS.map(({ name }) => name).join(", ")}
  --output PATH     writes PATH.json and PATH.svg (bench/results/proxy when nothing is left out, else nothing)
`;

/**
 * Parses the command line; `null` for `--help`.
 *
 * @throws {TypeError} when it has a mistake
 */
export function readOptions(args: readonly string[]): BenchOptions | null {
  const parsed = parseArgs([...args], {
    string: ["rounds", "seconds", "connections", "peers", "bodies", "output"],
    boolean: ["help"],
    unknown: (argument) => {
      throw new TypeError(`Cannot read ${argument}\n\n${HELP}`);
    },
  });
  if (parsed.help === true) return null;
  const partial = parsed.peers !== undefined || parsed.bodies !== undefined || parsed.rounds !== undefined;
  return {
    rounds: whole("rounds", parsed.rounds, 5),
    seconds: whole("seconds", parsed.seconds, 2),
    connections: whole("connections", parsed.connections, 64),
    peers: named("peers", ALL_PEERS, parsed.peers),
    scenarios: named("bodies", SCENARIOS, parsed.bodies),
    output: parsed.output ?? (partial ? null : "bench/results/proxy"),
  };
}

function whole(name: string, given: string | undefined, otherwise: number): number {
  const value = given === undefined ? otherwise : Number(given);
  if (Number.isInteger(value) && value > 0) return value;
  throw new TypeError(`--${name} must be a number from 1 on, received ${given}`);
}

function named<T extends { readonly name: string }>(
  option: string,
  all: readonly T[],
  given: string | undefined,
): readonly T[] {
  if (given === undefined) return all;
  const wanted = given.split(",");
  for (const name of wanted) {
    if (all.some((each) => each.name === name)) continue;
    throw new TypeError(
      `--${option} must be of ${all.map((each) => each.name).join(", ")}, received ${name}`,
    );
  }
  return all.filter((each) => wanted.includes(each.name));
}
