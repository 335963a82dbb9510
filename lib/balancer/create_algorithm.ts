/** Creates balancing algorithms by name. */

import { callAside, tellStrayError, unexpected } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { ConsistentHash } from "./consistent_hash.ts";
import { Ewma, PowerOfTwoChoices, WeightedRandom } from "./weighted_random.ts";
import { FnvHash } from "./fnv_hash.ts";
import { LeastConnections, SharedLeastConnections } from "./least_connections.ts";
import { createRoundRobin, type SharedTurns } from "./smooth_weighted_round_robin.ts";

/** Names of the algorithms. */
export const BALANCE_NAMES: readonly BalanceName[] = [
  "round-robin",
  "random",
  "least-connections",
  "p2c",
  "ewma",
  "consistent-hash",
  "fnv-hash",
  "first",
];

/** Name of an algorithm. */
export type BalanceName =
  | "round-robin"
  | "random"
  | "least-connections"
  | "p2c"
  | "ewma"
  | "consistent-hash"
  | "fnv-hash"
  | "first";

/** How to choose a server: the name of an algorithm, or a function of the configuration. */
export type Balance =
  | BalanceName
  | ((servers: readonly Server[], source: unknown) => Server | undefined | void);

/** Options of algorithms. */
interface AlgorithmInit {
  readonly clock: Clock;
  readonly random: Random;
  /** For `"consistent-hash"`: see `ConsistentHashOptions`. */
  readonly loadFactor?: number;
  /** Round-robin turns if several processes share them; `null` if there is only one process. */
  readonly turns?: SharedTurns | null;
  /** Receives errors of a custom function. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** Creates an algorithm. */
export function createAlgorithm(balance: Balance, init: AlgorithmInit): Algorithm {
  const { clock, random, loadFactor = Infinity, turns = null, onError } = init;
  if (typeof balance === "function") return new CustomChoice(balance, onError);
  switch (balance) {
    case "round-robin":
      return createRoundRobin(turns);
    case "random":
      return new WeightedRandom(random);
    case "least-connections":
      return turns !== null ? new SharedLeastConnections() : new LeastConnections();
    case "p2c":
      return new PowerOfTwoChoices(random);
    case "ewma":
      return new Ewma(clock, random);
    case "consistent-hash":
      return new ConsistentHash(clock, { loadFactor, turns });
    case "fnv-hash":
      return new FnvHash(turns);
    case "first":
      return new First();
  }
}

/** Always takes the first usable server of the list. The next ones are used if it is unavailable or full. */
class First implements Algorithm {
  pick({ servers }: Candidates, selection: Selection): Server | undefined {
    for (let i = 0; i < servers.length; i++) if (selection.accepts(servers[i]!)) return servers[i];
    return undefined;
  }
}

// Choice by a function of the configuration.

/**
 * Chooses one of the usable servers; there is always at least one. In the proxy, `source` is `{ request, ctx }`. If it
 * returns nothing, or a server that is not in the list, no server is chosen.
 */
type ChooseServer = Exclude<Balance, string>;

/** Calls a custom function. If it throws, `onError` receives the error and no server is chosen. */
class CustomChoice implements Algorithm {
  readonly #choose: ChooseServer;
  readonly #onError: (error: unknown) => void;

  constructor(choose: ChooseServer, onError: (error: unknown) => void = reportBalanceError) {
    this.#choose = choose;
    this.#onError = onError;
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    const servers = candidates.servers.filter((server) => selection.accepts(server));
    if (servers.length === 0) return undefined;
    try {
      const chosen: unknown = this.#choose(servers, selection.source);
      if (chosen === undefined || chosen === null) return undefined;
      if (!(chosen instanceof Server)) throw unexpected("one of the servers or nothing", chosen);
      return servers.includes(chosen) ? chosen : undefined;
    } catch (error) {
      callAside(() => this.#onError(error), (again) => tellStrayError("onBalanceError", again));
      return undefined;
    }
  }
}

function reportBalanceError(error: unknown): void {
  tellStrayError("balance", error);
}
