/** Round robin by weight, with evenly spread turns. */

import type { Server } from "../upstream/server.ts";
import type { SharedCells } from "../upstream/shared_servers.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/**
 * Smooth weighted round robin, as in nginx (commit 52327e0, 2012): at each choice, every server's credit grows by its
 * weight; the server with the highest credit is chosen, and its credit falls by the sum of all weights. Weights 5, 1, 1
 * result in a a b a c a a.
 *
 * Servers of the same weight are chosen in turn, so it is enough to compare one server of each weight: a choice between a
 * thousand equal servers costs as much as one between two. Unavailable servers are no candidates, so the others share
 * their part by weight. The credit of a full server does not change.
 */
class SmoothWeightedRoundRobin implements Algorithm {
  #candidates: Candidates | null = null;
  /** Number of choices. The credit of a server is its weight times this number, plus its offset. */
  #rounds = 0;
  #offsets = new Float64Array(0);
  /** Per distinct weight: the weight, the queue of its servers, and the offset of the first one. */
  #weights = new Float64Array(0);
  #queues: readonly TurnQueue[] = [];
  #heads = new Float64Array(0);
  /** The credit of each server at the last change of candidates, as a share of one request; see `#settle`. */
  readonly #credits = new Map<Server, number>();

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (candidates !== this.#candidates) this.#rebuild(candidates);
    const rounds = ++this.#rounds;
    const weights = this.#weights;
    const heads = this.#heads;
    let best = -1;
    let most = -Infinity;
    for (let i = 0; i < weights.length; i++) {
      const credit = rounds * weights[i]! + heads[i]!;
      if (credit < most) continue;
      if (credit === most && this.#queues[i]!.at(0) > this.#queues[best]!.at(0)) continue;
      best = i;
      most = credit;
    }
    if (best === -1) return undefined;
    const server = candidates.servers[this.#queues[best]!.at(0)]!;
    if (!selection.accepts(server)) return this.#pickOther(candidates, selection);
    this.#serve(best, 0, candidates.totalWeight);
    return server;
  }

  /** Chooses among the accepted servers; the credit of the others does not grow. */
  #pickOther(candidates: Candidates, selection: Selection): Server | undefined {
    let best = -1;
    let bestPosition = 0;
    let most = -Infinity;
    let total = candidates.totalWeight;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i]!;
      const weight = this.#weights[i]!;
      for (let position = 0; position < queue.length; position++) {
        const index = queue.at(position);
        if (!selection.accepts(candidates.servers[index]!)) {
          this.#offsets[index]! -= weight;
          total -= weight;
          continue;
        }
        const credit = this.#rounds * weight + this.#offsets[index]!;
        if (credit > most || (credit === most && index < this.#queues[best]!.at(bestPosition))) {
          best = i;
          bestPosition = position;
          most = credit;
        }
        break;
      }
      this.#heads[i] = this.#offsets[queue.at(0)]!;
    }
    return best === -1 ? undefined : candidates.servers[this.#serve(best, bestPosition, total)];
  }

  /** Lowers the credit of the server at a position of a queue, and moves it to the end. */
  #serve(best: number, position: number, price: number): number {
    const queue = this.#queues[best]!;
    const index = queue.rotate(position);
    this.#offsets[index]! -= price;
    this.#heads[best] = this.#offsets[queue.at(0)]!;
    return index;
  }

  /**
   * Keeps the credit of each server, so that adding or removing one does not restart the turns of all. Unavailable servers
   * keep theirs too: otherwise they would be last in the queue each time they recover.
   */
  #rebuild(candidates: Candidates): void {
    this.#settle(candidates.members);
    const { servers, weights, totalWeight } = candidates;
    const offsets = Float64Array.from(
      servers,
      (server) => Math.round((this.#credits.get(server) ?? 0) * totalWeight),
    );
    const byWeight = new Map<number, number[]>();
    for (let i = 0; i < servers.length; i++) {
      const group = byWeight.get(weights[i]!);
      if (group === undefined) byWeight.set(weights[i]!, [i]);
      else group.push(i);
    }
    const orders = [...byWeight.values()];
    for (const order of orders) order.sort((a, b) => offsets[b]! - offsets[a]! || a - b);
    this.#queues = orders.map((order) => new TurnQueue(order));
    this.#weights = Float64Array.from(byWeight.keys());
    this.#heads = Float64Array.from(orders, (order) => offsets[order[0]!]!);
    this.#offsets = offsets;
    this.#rounds = 0;
    this.#candidates = candidates;
  }

  /** Stores credits as shares of one request, which are valid for another sum of weights too. */
  #settle(members: readonly Server[]): void {
    const before = this.#candidates;
    if (before === null) return;
    for (let i = 0; i < before.servers.length; i++) {
      const share = (this.#rounds * before.weights[i]! + this.#offsets[i]!) / before.totalWeight;
      this.#credits.set(before.servers[i]!, Math.max(-1, Math.min(1, share)));
    }
    if (members === before.members) return;
    const staying = new Set(members);
    for (const server of this.#credits.keys()) if (!staying.has(server)) this.#credits.delete(server);
  }
}

/** The shared turns of a pool for all processes of a proxy, for one rank of its servers. */
export interface SharedTurns {
  readonly cells: SharedCells;
  /** 0 for primary servers, 1 for backups. */
  readonly rank: 0 | 1;
}

/** Creates round robin; with `turns`, all processes take turns together. */
export function createRoundRobin(turns: SharedTurns | null): Algorithm {
  return turns === null ? new SmoothWeightedRoundRobin() : new SharedRoundRobin(turns);
}

/** Longest cycle; weights that need a longer one are rounded. */
const MAX_CYCLE = 4096;
/** How many turns a request takes before it searches for the next server with room. */
const MAX_TURNS = 8;

/**
 * Round robin for several processes, in the same order: each choice takes a number from a shared counter, which is a
 * position in the cycle of {@linkcode SmoothWeightedRoundRobin}. So the turns of all processes together are even, and a
 * choice does not depend on earlier choices.
 *
 * The turn of a full server is skipped: otherwise all its requests would go to the next server. Retries have separate
 * turns: otherwise the server after a failing one would get only retries.
 */
class SharedRoundRobin implements Algorithm {
  readonly #turns: SharedTurns;
  #candidates: Candidates | null = null;
  #cycle: Uint16Array | Uint32Array = new Uint16Array(0);

  constructor(turns: SharedTurns) {
    this.#turns = turns;
  }

  prepare(candidates: Candidates): void {
    const before = this.#candidates;
    this.#candidates = candidates;
    if (candidates.servers.length === 0) this.#candidates = null;
    else if (before === null || !sameWeights(before, candidates)) this.#cycle = cycleOf(candidates);
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (candidates !== this.#candidates) this.prepare(candidates);
    const { servers } = candidates;
    const { cells, rank } = this.#turns;
    const counter = (selection.retries ? rank + 2 : rank) as 0 | 1 | 2 | 3;
    const cycle = this.#cycle;
    let place = 0;
    for (let turns = 0; turns < MAX_TURNS; turns++) {
      place = cycle.length === 1 ? 0 : cells.takeTurn(counter) % cycle.length;
      const server = servers[cycle[place]!]!;
      if (selection.accepts(server)) return server;
    }
    const first = cycle[place]!;
    for (let i = 1; i <= servers.length; i++) {
      const server = servers[(first + i) % servers.length]!;
      if (selection.accepts(server)) return server;
    }
    return undefined;
  }
}

/** Accepts every server, also full ones. */
const ACCEPT_ALL: Selection = { key: undefined, source: undefined, retries: false, accepts: () => true };

/** Whether a cycle is still valid: a change of another pool makes a new candidates object too. */
function sameWeights(a: Candidates, b: Candidates): boolean {
  return a.servers.length === b.servers.length &&
    a.servers.every((server, i) => server === b.servers[i] && a.weights[i] === b.weights[i]);
}

/** One full cycle of choices, as indexes of the candidates. */
function cycleOf(candidates: Candidates): Uint16Array | Uint32Array {
  const { servers, totalWeight } = candidates;
  const longest = Math.max(MAX_CYCLE, 8 * servers.length);
  let weights = candidates.weights;
  if (!weights.every(Number.isSafeInteger) || totalWeight / weights.reduce(commonDivisor) > longest) {
    weights = weights.map((weight) => Math.max(1, Math.round(weight / totalWeight * longest)));
  }
  const divisor = weights.reduce(commonDivisor);
  weights = weights.map((weight) => weight / divisor);
  const length = weights.reduce((sum, weight) => sum + weight);
  const turns = new SmoothWeightedRoundRobin();
  const places = new Map(servers.map((server, place) => [server, place]));
  const whole = { ...candidates, weights, totalWeight: length };
  const cycle = servers.length < 2 ** 16 ? new Uint16Array(length) : new Uint32Array(length);
  for (let i = 0; i < length; i++) cycle[i] = places.get(turns.pick(whole, ACCEPT_ALL)!)!;
  return cycle;
}

function commonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** A queue of indexes whose items move to the end; allocates only once. */
class TurnQueue {
  /** Twice as long as the queue, so that items are rarely moved to the front. */
  readonly #items: Int32Array;
  #first = 0;
  #end: number;

  constructor(order: readonly number[]) {
    this.#items = new Int32Array(order.length * 2 + 1);
    this.#items.set(order);
    this.#end = order.length;
  }

  get length(): number {
    return this.#end - this.#first;
  }

  /** The item at a position; 0 is the next one. */
  at(position: number): number {
    return this.#items[this.#first + position]!;
  }

  /** Moves the item at a position to the end, and returns it. */
  rotate(position: number): number {
    const items = this.#items;
    const taken = items[this.#first + position]!;
    if (position > 0) items.copyWithin(this.#first + 1, this.#first, this.#first + position);
    this.#first++;
    if (this.#end === items.length) {
      items.copyWithin(0, this.#first, this.#end);
      this.#end -= this.#first;
      this.#first = 0;
    }
    items[this.#end++] = taken;
    return taken;
  }
}
