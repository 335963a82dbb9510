/** Draws two servers and takes the one that is faster by its moving average (EWMA). */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { Outcome, Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { WeightedDraw } from "./weighted_random.ts";

/** Options of {@linkcode Ewma}. */
interface EwmaOptions {
  /** Milliseconds after which a measurement counts for 1/e. @default {10000} */
  decayMs?: number;
  /** How many times as slow as the pool a failed request counts. @default {10} */
  errorPenalty?: number;
}

/** No response counts as faster than this, or requests in flight would count for nothing. */
const FLOOR_MS = 0.1;

/** Choices for each look at the clock: a look costs as much as the rest of a choice. */
const PICKS_PER_LOOK = 16;

/** The moving average of one server. */
interface Estimate {
  valueMs: number;
  at: number;
}

/**
 * Draws two servers by weight and takes the one with the smaller cost: the exponentially weighted moving average of its
 * time to the first byte, times its requests in flight for its weight.
 *
 * A new server starts at the average of the pool, so that it does not get everything. An average shrinks with time, so
 * that a server that was slow or failed is tried again. A failure counts at once and in full. A response that says
 * nothing about the server (4xx, 429, 500, the client went away) never counts as faster than the pool, so that failing
 * fast does not look fast. (The shape of Finagle's peak EWMA.)
 */
export class Ewma implements Algorithm {
  readonly #clock: Clock;
  readonly #draw: WeightedDraw;
  readonly #decayMs: number;
  readonly #errorPenalty: number;
  readonly #estimates = new WeakMap<Server, Estimate>();
  /** The average of the successes of all servers. */
  #poolMs = FLOOR_MS;
  #poolAt = -Infinity;
  #now = 0;
  #picks = 0;

  constructor(clock: Clock, random: Random, { decayMs = 10_000, errorPenalty = 10 }: EwmaOptions = {}) {
    this.#clock = clock;
    this.#draw = new WeightedDraw(random);
    this.#decayMs = decayMs;
    this.#errorPenalty = errorPenalty;
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
    if (this.#picks++ % PICKS_PER_LOOK === 0) this.#now = this.#clock.now();
    const mean = candidates.totalWeight / servers.length;
    const costOfOne = this.#cost(one, mean / weights[first]!);
    return this.#cost(other, mean / weights[second]!) < costOfOne ? other : one;
  }

  /** The weight only divides the requests in flight: an idle server of little weight is as fast as it measured. */
  #cost(server: Server, perRequest: number): number {
    return this.#estimateAt(server, this.#now) * (server.inFlight * perRequest + 1);
  }

  observe(server: Server, outcome: Outcome, latencyMs: number): void {
    const now = this.#now = this.#clock.now();
    const estimate = this.#estimates.get(server);
    if (outcome === "failure") {
      const penaltyMs = Math.max(latencyMs, this.#poolMs) * this.#errorPenalty;
      this.#estimates.set(server, { valueMs: penaltyMs, at: now });
      return;
    }
    // An ignored outcome may count as slow, never as fast: or a server that refuses requests would look quick.
    const sampleMs = Math.max(latencyMs, outcome === "success" ? FLOOR_MS : this.#poolMs);
    if (outcome === "success") {
      const kept = this.#poolAt === -Infinity ? 0 : this.#kept(now - this.#poolAt);
      this.#poolMs = sampleMs + (this.#poolMs - sampleMs) * kept;
      this.#poolAt = now;
    }
    if (estimate === undefined) {
      this.#estimates.set(server, { valueMs: sampleMs, at: now });
      return;
    }
    estimate.valueMs = sampleMs + (estimate.valueMs - sampleMs) * this.#kept(now - estimate.at);
    estimate.at = now;
  }

  /** The expected time of a request to this server, in milliseconds. */
  estimate(server: Server): number {
    return this.#estimateAt(server, this.#clock.now());
  }

  #estimateAt(server: Server, now: number): number {
    const estimate = this.#estimates.get(server);
    if (estimate === undefined) return this.#poolMs;
    return estimate.valueMs * this.#kept(now - estimate.at);
  }

  /** How much a measurement of this age still counts, 0 to 1. */
  #kept(ageMs: number): number {
    return Math.exp(-ageMs / this.#decayMs);
  }
}
