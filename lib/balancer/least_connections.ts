/** The server with the fewest requests in flight. */

import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { WinnerTree } from "./winner_tree.ts";

/**
 * Weighted least connections: fewest requests in flight for its weight. Among equals the one that has been chosen
 * least for its weight, so that with little load the servers take turns by weight.
 */
export class LeastConnections implements Algorithm {
  #candidates: Candidates | null = null;
  #positions = new Map<Server, number>();
  /** Requests in flight, and how often each was chosen; both divided by its weight. */
  #loads = new Float64Array(0);
  #served = new Float64Array(0);
  #tree = new WinnerTree(0, () => false);

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (candidates !== this.#candidates) this.#rebuild(candidates);
    const { servers, weights } = candidates;
    let best = this.#tree.winner;
    if (best === -1) return undefined;
    if (!selection.accepts(servers[best]!)) best = this.#leastAccepted(candidates, selection);
    if (best === -1) return undefined;
    this.#served[best]! += 1 / weights[best]!;
    this.#tree.update(best);
    return servers[best];
  }

  /** Keeps the tree in order: without being told of each request it would have to look at every server. */
  loadChanged(server: Server): void {
    const position = this.#positions.get(server);
    if (position === undefined) return;
    this.#loads[position] = server.inFlight / this.#candidates!.weights[position]!;
    this.#tree.update(position);
  }

  #leastAccepted({ servers }: Candidates, selection: Selection): number {
    let best = -1;
    for (let i = 0; i < servers.length; i++) {
      if ((best === -1 || this.#isBefore(i, best)) && selection.accepts(servers[i]!)) best = i;
    }
    return best;
  }

  #isBefore(a: number, b: number): boolean {
    const difference = this.#loads[a]! - this.#loads[b]!;
    return difference < 0 || (difference === 0 && this.#served[a]! < this.#served[b]!);
  }

  #rebuild(candidates: Candidates): void {
    const { servers, weights } = candidates;
    this.#loads = Float64Array.from(servers, (server, i) => server.inFlight / weights[i]!);
    this.#served = new Float64Array(servers.length);
    this.#positions = new Map(servers.map((server, i) => [server, i]));
    this.#tree = new WinnerTree(servers.length, (a, b) => this.#isBefore(a, b));
    this.#candidates = candidates;
  }
}
