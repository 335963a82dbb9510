/** Chooses the server with the fewest requests in flight. */

import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/**
 * Weighted least connections: takes the server with the fewest requests in flight relative to its weight. Among equals,
 * takes the one that was chosen least relative to its weight, so that servers take turns under little load.
 */
export class LeastConnections implements Algorithm {
  #candidates: Candidates | null = null;
  #positions = new Map<Server, number>();
  /** Per server: requests in flight, and how often it was chosen; both divided by its weight. */
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

  /** Updates the tree: without this, each choice would have to compare all servers. */
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

/**
 * Least connections if several processes send requests to the servers: changes of the load by other processes are not
 * reported, so each choice compares all servers.
 */
export class SharedLeastConnections implements Algorithm {
  #candidates: Candidates | null = null;
  #served = new Float64Array(0);

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    const { servers, weights } = candidates;
    if (candidates !== this.#candidates) {
      this.#served = new Float64Array(servers.length);
      this.#candidates = candidates;
    }
    const served = this.#served;
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < servers.length; i++) {
      const load = servers[i]!.inFlight / weights[i]!;
      const before = load < least || (load === least && served[i]! < served[best]!);
      if (!before || !selection.accepts(servers[i]!)) continue;
      best = i;
      least = load;
    }
    if (best === -1) return undefined;
    served[best]! += 1 / weights[best]!;
    return servers[best];
  }
}

/**
 * A tournament tree of numbered entrants. The winner is always known. A change replays only the games of the entrant that
 * changed (Knuth, The Art of Computer Programming 3, 5.4.1).
 */
export class WinnerTree {
  readonly #beats: (a: number, b: number) => boolean;
  /** The root is at 1, the entrants begin at `#leaves`; -1 is an empty place. */
  readonly #winners: Int32Array;
  readonly #leaves: number;

  /** @param beats whether entrant `a` is before entrant `b`; must be a strict order */
  constructor(count: number, beats: (a: number, b: number) => boolean) {
    this.#beats = beats;
    this.#leaves = 1;
    while (this.#leaves < count) this.#leaves *= 2;
    this.#winners = new Int32Array(this.#leaves * 2).fill(-1);
    for (let i = 0; i < count; i++) this.#winners[this.#leaves + i] = i;
    for (let node = this.#leaves - 1; node > 0; node--) this.#play(node);
  }

  /** The entrant that is before all others; -1 without entrants. */
  get winner(): number {
    return this.#winners[1]!;
  }

  /** Replays the games of an entrant that has changed. */
  update(entrant: number): void {
    for (let node = (this.#leaves + entrant) >> 1; node > 0; node >>= 1) this.#play(node);
  }

  #play(node: number): void {
    const left = this.#winners[node * 2]!;
    const right = this.#winners[node * 2 + 1]!;
    this.#winners[node] = right === -1 || (left !== -1 && !this.#beats(right, left)) ? left : right;
  }
}
