/** Lets servers take turns by weight, evenly spread. */

import type { Server } from "../upstream/server.ts";
import type { SharedCells } from "../upstream/shared_servers.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/**
 * Smooth weighted round robin, as nginx does it (commit 52327e0, 2012): for each choice every server gains its weight;
 * the one with the most is chosen and pays the sum of all weights. Weights 5, 1, 1 give a a b a c a a.
 *
 * Servers of the same weight are chosen in turn, so it is enough to compare one server of each weight: a choice between
 * a thousand equal servers costs as much as one between two. Servers that are down are no candidates, so the others
 * share their part by weight; a full server neither gains nor pays.
 */
class SmoothWeightedRoundRobin implements Algorithm {
  #candidates: Candidates | null = null;
  /** How often the servers have gained; a server has its weight times this, plus its offset. */
  #rounds = 0;
  #offsets = new Float64Array(0);
  /** For each weight: the weight, the queue of its servers, and the offset of the first one. */
  #weights = new Float64Array(0);
  #queues: readonly TurnQueue[] = [];
  #heads = new Float64Array(0);
  /** What each server had when the candidates changed last, as a share of one request; see `#settle`. */
  readonly #owed = new Map<Server, number>();

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (candidates !== this.#candidates) this.#rebuild(candidates);
    const rounds = ++this.#rounds;
    const weights = this.#weights;
    const heads = this.#heads;
    let best = -1;
    let most = -Infinity;
    for (let i = 0; i < weights.length; i++) {
      const standing = rounds * weights[i]! + heads[i]!;
      if (standing < most) continue;
      if (standing === most && this.#queues[i]!.at(0) > this.#queues[best]!.at(0)) continue;
      best = i;
      most = standing;
    }
    if (best === -1) return undefined;
    const server = candidates.servers[this.#queues[best]!.at(0)]!;
    if (!selection.accepts(server)) return this.#pickOther(candidates, selection);
    this.#serve(best, 0, candidates.totalWeight);
    return server;
  }

  /** Chooses among the servers that are accepted; the others lose what they gained for this choice. */
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
        const standing = this.#rounds * weight + this.#offsets[index]!;
        if (standing > most || (standing === most && index < this.#queues[best]!.at(bestPosition))) {
          best = i;
          bestPosition = position;
          most = standing;
        }
        break;
      }
      this.#heads[i] = this.#offsets[queue.at(0)]!;
    }
    return best === -1 ? undefined : candidates.servers[this.#serve(best, bestPosition, total)];
  }

  /** Makes the server at a position of a queue pay, and moves it to the end. */
  #serve(best: number, position: number, price: number): number {
    const queue = this.#queues[best]!;
    const index = queue.rotate(position);
    this.#offsets[index]! -= price;
    this.#heads[best] = this.#offsets[queue.at(0)]!;
    return index;
  }

  /**
   * Keeps what each server is owed, so that adding or removing one does not restart the turns of all. A server that is
   * down keeps it too, or it would wait at the end of the queue each time it comes up.
   */
  #rebuild(candidates: Candidates): void {
    this.#settle(candidates.members);
    const { servers, weights, totalWeight } = candidates;
    const offsets = Float64Array.from(
      servers,
      (server) => Math.round((this.#owed.get(server) ?? 0) * totalWeight),
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

  /** Notes what the servers have now as shares of one request, which stays right for another sum of weights. */
  #settle(members: readonly Server[]): void {
    const before = this.#candidates;
    if (before === null) return;
    for (let i = 0; i < before.servers.length; i++) {
      const share = (this.#rounds * before.weights[i]! + this.#offsets[i]!) / before.totalWeight;
      this.#owed.set(before.servers[i]!, Math.max(-1, Math.min(1, share)));
    }
    if (members === before.members) return;
    const staying = new Set(members);
    for (const server of this.#owed.keys()) if (!staying.has(server)) this.#owed.delete(server);
  }
}

/** Where the processes of one proxy take the turns of a pool, and for which rank of its servers. */
export interface SharedTurns {
  readonly cells: SharedCells;
  /** 0 for primary servers, 1 for backups. */
  readonly rank: 0 | 1;
}

/** Lets servers take turns: those of all processes together, where there are several. */
export function createRoundRobin(turns: SharedTurns | null): Algorithm {
  return turns === null ? new SmoothWeightedRoundRobin() : new SharedRoundRobin(turns);
}

/** Longest cycle that is made; shares of a longer one are rounded to its parts. */
const MAX_CYCLE = 4096;
/** How many turns a request takes before it looks for the next server that has room. */
const MAX_TURNS = 8;

/**
 * The same order where other processes choose among the servers too: each choice takes a number, which is a place in the
 * cycle of {@linkcode SmoothWeightedRoundRobin}, so that the turns of all together are even. It depends on no choice before,
 * whoever has made it.
 *
 * The turn of a server that is full goes to nobody: its requests would all fall to the one behind it. Retries take turns of
 * their own, or the server behind one that fails would never get a first attempt.
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

/** Takes servers that are full too. */
const ANYONE: Selection = { key: undefined, source: undefined, retries: false, accepts: () => true };

/** Whether a cycle stays right: changes of other pools make new candidates too. */
function sameWeights(a: Candidates, b: Candidates): boolean {
  return a.servers.length === b.servers.length &&
    a.servers.every((server, i) => server === b.servers[i] && a.weights[i] === b.weights[i]);
}

/** The order in which servers are chosen until it begins anew, by their places among the candidates. */
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
  for (let i = 0; i < length; i++) cycle[i] = places.get(turns.pick(whole, ANYONE)!)!;
  return cycle;
}

function commonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** A queue of small whole numbers whose items move to the end; allocates only once. */
class TurnQueue {
  /** Twice as long as the queue, so that the items are moved to the front rarely. */
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
