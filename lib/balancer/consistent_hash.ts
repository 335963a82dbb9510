/** Gives a key the same server as long as that server is available. */

import type { Clock } from "../core/clock.ts";
import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { KetamaRing } from "./ketama_ring.ts";
import { createRoundRobin, type SharedTurns } from "./smooth_weighted_round_robin.ts";

/** Options of {@linkcode ConsistentHash}. */
interface ConsistentHashOptions {
  /**
   * How many times its share of the requests in flight a server may have before its keys go to the next server on the
   * ring; above 1, `Infinity` is no bound. @default {Infinity}
   */
  loadFactor?: number;
  /** Turns of requests without a key, when other processes send requests to the servers too. @default {null} */
  turns?: SharedTurns | null;
}

/** A ring and the state of the servers on it. */
interface Built {
  readonly members: readonly Server[];
  readonly ring: KetamaRing;
  /** For each member: whether it is a candidate now, and the number of the choice that refused it last. */
  readonly usable: Uint8Array;
  readonly refusedIn: Float64Array;
  /** How many are usable. */
  count: number;
}

/**
 * Consistent hashing on a {@linkcode KetamaRing}. When a server cannot be used, only its keys move, each to the next
 * server on the ring; they come back with it. Requests without a key go round robin.
 *
 * With a load factor it is consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016).
 */
export class ConsistentHash implements Algorithm {
  readonly #clock: Clock;
  readonly #loadFactor: number;
  readonly #turns: Algorithm;
  #built: Built | null = null;
  #candidates: Candidates | null = null;
  #rebuild: Disposable | null = null;
  #choices = 0;

  constructor(clock: Clock, { loadFactor = Infinity, turns = null }: ConsistentHashOptions = {}) {
    this.#turns = createRoundRobin(turns);
    this.#clock = clock;
    this.#loadFactor = loadFactor;
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (selection.key === undefined) return this.#turns.pick(candidates, selection);
    const built = candidates === this.#candidates ? this.#built! : this.#refresh(candidates);
    const start = built.ring.find(selection.key);
    let server = this.#walk(built, start, candidates, selection, this.#loadFactor);
    // When every server below the bound was tried, one above it is better than none.
    if (this.#loadFactor !== Infinity) server ??= this.#walk(built, start, candidates, selection, Infinity);
    if (server !== undefined || built.members === candidates.members) return server;
    // Only new servers are left, which are not on the ring yet.
    return this.#turns.pick(candidates, selection);
  }

  prepare(candidates: Candidates): void {
    if (this.#built !== null && this.#built.members === candidates.members) return;
    this.#candidates = candidates;
    this.#build(candidates);
  }

  #walk(
    built: Built,
    start: number,
    candidates: Candidates,
    selection: Selection,
    loadFactor: number,
  ): Server | undefined {
    const { ring, members, usable, refusedIn } = built;
    const choice = ++this.#choices;
    let left = built.count;
    const perWeight = loadFactor * (candidates.load.inFlight + 1) / candidates.totalWeight;
    let point = start;
    for (let steps = ring.length; steps > 0 && left > 0; steps--) {
      const node = ring.nodeAt(point);
      if (++point === ring.length) point = 0;
      if (usable[node] === 0 || refusedIn[node] === choice) continue;
      const server = members[node]!;
      if (server.inFlight < Math.ceil(perWeight * server.effectiveWeight) && selection.accepts(server)) {
        return server;
      }
      refusedIn[node] = choice;
      left--;
    }
    return undefined;
  }

  /** Marks the usable servers. Builds the ring for new members a moment later, so that no request waits for it. */
  #refresh(candidates: Candidates): Built {
    this.#candidates = candidates;
    const built = this.#built;
    if (built === null) return this.#build(candidates);
    if (built.members !== candidates.members) {
      this.#rebuild ??= this.#clock.setTimer(() => this.#replace(), 0);
    }
    markUsable(built, candidates);
    return built;
  }

  #replace(): void {
    if (this.#candidates !== null) this.#build(this.#candidates);
  }

  #build(candidates: Candidates): Built {
    this[Symbol.dispose]();
    const { members } = candidates;
    const ring = new KetamaRing(members.map(({ peer: { address }, weight }) => ({ address, weight })));
    this.#built = {
      members,
      ring,
      usable: new Uint8Array(members.length),
      refusedIn: new Float64Array(members.length),
      count: 0,
    };
    markUsable(this.#built, candidates);
    return this.#built;
  }

  /** Cancels a ring that is to be built. */
  [Symbol.dispose](): void {
    this.#rebuild?.[Symbol.dispose]();
    this.#rebuild = null;
  }
}

function markUsable(built: Built, { servers }: Candidates): void {
  const candidates = new Set(servers);
  built.count = 0;
  built.members.forEach((server, node) => {
    built.usable[node] = candidates.has(server) ? 1 : 0;
    built.count += built.usable[node]!;
  });
}
