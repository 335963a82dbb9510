/** Taking turns by weight, evenly spread. */

import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { TurnQueue } from "./turn_queue.ts";

/**
 * Smooth weighted round robin, as nginx does it (commit 52327e0, 2012): each time every server gains its weight, the
 * one with the most is chosen and pays the sum of all. Weights 5, 1, 1 give a a b a c a a.
 *
 * Servers of one weight are always served in turn, so it is enough to compare one server a weight: with a thousand
 * equal servers a choice costs as much as with one. Servers that are down are no candidates, so the others share in
 * proportion; a full one neither gains nor pays.
 */
export class SmoothWeightedRoundRobin implements Algorithm {
  #candidates: Candidates | null = null;
  /** How often everybody has gained; a server has its weight times this, and its offset. */
  #rounds = 0;
  #offsets = new Float64Array(0);
  /** For each weight: the weight, whose turn it is, and the offset of that server beside the others'. */
  #weights = new Float64Array(0);
  #queues: readonly TurnQueue[] = [];
  #heads = new Float64Array(0);
  /** What servers had, as shares of one request, when the candidates were last others; see `#settle`. */
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

  /** The same, passing over servers that are not accepted; what they gained this time is taken back. */
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

  /** Lets the server at a position of a queue pay, and go to its end. */
  #serve(best: number, position: number, price: number): number {
    const queue = this.#queues[best]!;
    const index = queue.rotate(position);
    this.#offsets[index]! -= price;
    this.#heads[best] = this.#offsets[queue.at(0)]!;
    return index;
  }

  /**
   * Takes over what each server is owed, so that one that comes or goes does not start everybody's turns anew; one
   * that is down keeps what it had, or it would wait at the end of the queue after each flip.
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

  /** Writes down what the servers have now as shares of one request, which holds for any sum of weights. */
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
