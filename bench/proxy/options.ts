/** The command line of `deno task bench:proxy`. */

import { parseArgs } from "@std/cli/parse-args";
import { ALL_PEERS } from "./all_peers.ts";
import type { Peer } from "./peer.ts";
import { type Scenario, SCENARIOS } from "./scenarios.ts";

/** What is to be run. */
export interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly peers: readonly Peer[];
  readonly scenarios: readonly Scenario[];
  /** Where results go, without the ending; `null` when they are only shown. */
  readonly output: string | null;
}

/** What `--help` says. */
export const HELP = `deno task bench:proxy [options]

  --rounds N        how often everything is measured (5)
  --seconds N       how long each measurement takes (2)
  --connections N   of the client (64)
  --peers A,B       of ${ALL_PEERS.map(({ name }) => name).join(", ")}
  --bodies A,B      of ${SCENARIOS.map(({ name }) => name).join(", ")}
  --output PATH     writes PATH.json and PATH.svg (bench/results/proxy when nothing is left out, else nothing)
`;

/**
 * Reads the command line; `null` when help was asked for.
 *
 * @throws {TypeError} when it cannot be read
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
