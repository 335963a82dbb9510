/** Random choice by weight: one server, or the better of two. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { Outcome, Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/** Weighted random: each choice is proportional to the weights, independent of earlier choices. */
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

/** An alias table: each draw costs two random numbers, for any number of weights (Vose, 1991). */
class AliasTable {
  readonly #threshold: Float64Array;
  readonly #alias: Int32Array;

  constructor(weights: Float64Array, totalWeight: number) {
    const count = weights.length;
    this.#threshold = Float64Array.from(weights, (weight) => (weight * count) / totalWeight);
    this.#alias = new Int32Array(count);
    const light: number[] = [];
    const heavy: number[] = [];
    for (let i = 0; i < count; i++) (this.#threshold[i]! < 1 ? light : heavy).push(i);
    while (light.length > 0 && heavy.length > 0) {
      const small = light.pop()!;
      const large = heavy.at(-1)!;
      this.#alias[small] = large;
      this.#threshold[large]! -= 1 - this.#threshold[small]!;
      if (this.#threshold[large]! < 1) light.push(heavy.pop()!);
    }
    // What remains because of rounding errors has probability 1.
    for (const i of light) this.#threshold[i] = 1;
    for (const i of heavy) this.#threshold[i] = 1;
  }

  draw(random: Random): number {
    const index = Math.floor(random() * this.#threshold.length);
    return random() < this.#threshold[index]! ? index : this.#alias[index]!;
  }
}

/** How often to draw again if a server is not accepted, before all servers are checked. */
const TRIES = 8;

/** Draws candidates by weight, in constant time. */
class WeightedDraw {
  readonly #random: Random;
  #candidates: Candidates | null = null;
  #table: AliasTable | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Draws the index of an accepted candidate other than `other`; -1 if there is none. */
  draw(candidates: Candidates, selection: Selection, other = -1): number {
    if (candidates !== this.#candidates) this.#rebuild(candidates);
    const { servers } = candidates;
    if (servers.length === 0) return -1;
    for (let i = 0; i < TRIES; i++) {
      const index = this.#table === null
        ? Math.floor(this.#random() * servers.length)
        : this.#table.draw(this.#random);
      if (index !== other && selection.accepts(servers[index]!)) return index;
    }
    return this.#drawAccepted(candidates, selection, other);
  }

  /** Checks all servers once: each accepted one replaces the choice with the probability of its weight. */
  #drawAccepted({ servers, weights }: Candidates, selection: Selection, other: number): number {
    let chosen = -1;
    let sum = 0;
    for (let i = 0; i < servers.length; i++) {
      if (i === other || !selection.accepts(servers[i]!)) continue;
      sum += weights[i]!;
      if (this.#random() * sum < weights[i]!) chosen = i;
    }
    return chosen;
  }

  #rebuild(candidates: Candidates): void {
    const { weights, totalWeight } = candidates;
    const equal = weights.every((weight) => weight === weights[0]);
    this.#table = equal ? null : new AliasTable(weights, totalWeight);
    this.#candidates = candidates;
  }
}

// The better of two random servers.

/** Draws two different servers by weight; a subclass decides which is better. */
abstract class TwoChoices implements Algorithm {
  readonly #draw: WeightedDraw;

  constructor(random: Random) {
    this.#draw = new WeightedDraw(random);
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    const { servers } = candidates;
    const first = this.#draw.draw(candidates, selection);
    if (first === -1) return undefined;
    if (servers.length === 1) return servers[first];
    const second = this.#draw.draw(candidates, selection, first);
    return servers[second !== -1 && this.prefersSecond(candidates, first, second) ? second : first];
  }

  /** Whether the second server is better than the first; the first is taken if they are equal. */
  protected abstract prefersSecond(candidates: Candidates, first: number, second: number): boolean;
}

// The less loaded of two random servers.

/**
 * Power of two choices: draws two different servers by weight and takes the one with fewer requests in flight relative to
 * its weight, or the first if they are equal.
 *
 * Nearly as even as comparing all servers, at the cost of two, and several proxies do not all choose the same server
 * (Mitzenmacher, 2001).
 */
export class PowerOfTwoChoices extends TwoChoices {
  protected override prefersSecond({ servers, weights }: Candidates, first: number, second: number): boolean {
    return servers[second]!.inFlight * weights[first]! < servers[first]!.inFlight * weights[second]!;
  }
}

// The faster of two random servers, by a moving average (EWMA).

/** Options of {@linkcode Ewma}. */
interface EwmaOptions {
  /** Time after which a measurement has the weight 1/e, in milliseconds. @default {10000} */
  decayMs?: number;
  /** A failed request counts as a response that is this many times slower than the pool's average. @default {10} */
  errorPenalty?: number;
}

/** Lower bound of a measurement, in milliseconds: with 0, requests in flight would have no effect. */
const FLOOR_MS = 0.1;

/** Choices per reading of the clock: a reading costs as much as the rest of a choice. */
const PICKS_PER_CLOCK_READ = 16;

/** The moving average of one server. */
interface Estimate {
  valueMs: number;
  at: number;
}

/**
 * Draws two servers by weight and takes the one with the lower cost: the exponentially weighted moving average of its time
 * to the first byte, times its requests in flight relative to its weight.
 *
 * A new server starts at the average of the pool, so that it does not get all requests. An average decays with time, so
 * that a server that was slow or failed is tried again. A failure replaces the average at once. An outcome that says
 * nothing about the server (4xx, 429, 500, a client that disconnected) never counts as faster than the pool, so that
 * fast failures do not look fast. (Similar to Finagle's peak EWMA.)
 */
export class Ewma extends TwoChoices {
  readonly #clock: Clock;
  readonly #decayMs: number;
  readonly #errorPenalty: number;
  readonly #estimates = new WeakMap<Server, Estimate>();
  /** The average of successful responses of all servers. */
  #poolMs = FLOOR_MS;
  #poolAt = -Infinity;
  #now = 0;
  #picks = 0;

  constructor(clock: Clock, random: Random, { decayMs = 10_000, errorPenalty = 10 }: EwmaOptions = {}) {
    super(random);
    this.#clock = clock;
    this.#decayMs = decayMs;
    this.#errorPenalty = errorPenalty;
  }

  protected override prefersSecond(
    { servers, weights, totalWeight }: Candidates,
    first: number,
    second: number,
  ): boolean {
    if (this.#picks++ % PICKS_PER_CLOCK_READ === 0) this.#now = this.#clock.now();
    const mean = totalWeight / servers.length;
    return this.#cost(servers[second]!, mean / weights[second]!) <
      this.#cost(servers[first]!, mean / weights[first]!);
  }

  /** The weight divides only the requests in flight: an idle server with a low weight is not slower for that. */
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
    // An ignored outcome may count as slow, never as fast: otherwise a server that refuses requests would look fast.
    const sampleMs = Math.max(latencyMs, outcome === "success" ? FLOOR_MS : this.#poolMs);
    if (outcome === "success") {
      const kept = this.#poolAt === -Infinity ? 0 : this.#decay(now - this.#poolAt);
      this.#poolMs = sampleMs + (this.#poolMs - sampleMs) * kept;
      this.#poolAt = now;
    }
    if (estimate === undefined) {
      this.#estimates.set(server, { valueMs: sampleMs, at: now });
      return;
    }
    estimate.valueMs = sampleMs + (estimate.valueMs - sampleMs) * this.#decay(now - estimate.at);
    estimate.at = now;
  }

  /** The expected time of a request to this server, in milliseconds. */
  estimate(server: Server): number {
    return this.#estimateAt(server, this.#clock.now());
  }

  #estimateAt(server: Server, now: number): number {
    const estimate = this.#estimates.get(server);
    if (estimate === undefined) return this.#poolMs;
    return estimate.valueMs * this.#decay(now - estimate.at);
  }

  /** The weight of a measurement of this age, 0 to 1. */
  #decay(ageMs: number): number {
    return Math.exp(-ageMs / this.#decayMs);
  }
}
