/** The faster of two drawn servers. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { Outcome, Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { WeightedDraw } from "./weighted_draw.ts";

/** How {@linkcode Ewma} weighs what it sees. */
export interface EwmaOptions {
  /** After this many milliseconds what was seen counts for 1/e. @default {10000} */
  decayMs?: number;
  /** How many times as slow as the pool a failed request counts, however fast it failed. @default {10} */
  errorPenalty?: number;
}

/** No answer counts as faster than this, or requests in flight would count for nothing. */
const FLOOR_MS = 0.1;

/** Choices for which one look at the clock is good enough; it costs as much as the rest of a choice. */
const PICKS_PER_LOOK = 16;

/** What was seen of one server. */
interface Estimate {
  valueMs: number;
  at: number;
}

/**
 * Exponentially weighted moving average of the time to the first byte, times the requests in flight for its
 * weight; of two servers drawn by weight the one with less.
 *
 * A new server starts at the average of the pool, so it does not get everything. What is not heard of looks better
 * as time goes by: a server that was slow or failed is tried again. A failure counts at once and in full, and what says
 * nothing (4xx, 429, 500, the client went away) as no faster than the pool, so that failing fast does not look fast. (The shape of Finagle's peak EWMA.)
 */
export class Ewma implements Algorithm {
  readonly #clock: Clock;
  readonly #draw: WeightedDraw;
  readonly #decayMs: number;
  readonly #errorPenalty: number;
  readonly #estimates = new WeakMap<Server, Estimate>();
  /** Of the successes of all servers. */
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

  /** Weights say how much a server can do at once: an idle one of little weight is as fast as it is. */
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
    // What says nothing about the server may still have been slow; fast it was not, or refusing would look like work.
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

  /** What a request to this server is expected to take, in milliseconds. */
  estimate(server: Server): number {
    return this.#estimateAt(server, this.#clock.now());
  }

  #estimateAt(server: Server, now: number): number {
    const estimate = this.#estimates.get(server);
    if (estimate === undefined) return this.#poolMs;
    return estimate.valueMs * this.#kept(now - estimate.at);
  }

  /** How much of what was seen that long ago still counts. */
  #kept(ageMs: number): number {
    return Math.exp(-ageMs / this.#decayMs);
  }
}
