/** The servers of one rank and what chooses among them. */

import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { listCandidates } from "./candidates.ts";

/** Either the servers that do the work, or the backups. */
export class Tier implements Disposable {
  readonly algorithm: Algorithm;
  readonly #load: { readonly inFlight: number };
  #members: readonly Server[] = [];
  #candidates: Candidates;
  #panic = false;

  constructor(algorithm: Algorithm, load: { readonly inFlight: number }) {
    this.algorithm = algorithm;
    this.#load = load;
    this.#candidates = listCandidates({ members: [], load, panic: false });
  }

  /** Whether so few servers are up that all are used. */
  get panic(): boolean {
    return this.#panic;
  }

  /** The servers that may be chosen. */
  get candidates(): Candidates {
    return this.#candidates;
  }

  /** Sets who belongs to it; has to be followed by {@linkcode refresh}. */
  setMembers(members: readonly Server[]): void {
    this.#members = members;
  }

  /** Looks who may be chosen; panics when less than this share of those that the operator allows can. */
  refresh(panicThreshold: number): void {
    const members = this.#members;
    if (panicThreshold > 0) {
      const allowed = members.filter((server) => server.enabled && !server.draining);
      const available = allowed.filter((server) => server.available);
      this.#panic = available.length < panicThreshold * allowed.length;
    }
    this.#candidates = listCandidates({ members, load: this.#load, panic: this.#panic });
  }

  /** Chooses one of them, or nothing. */
  pick(selection: Selection): Server | undefined {
    if (this.#candidates.servers.length === 0) return undefined;
    return this.algorithm.pick(this.#candidates, selection);
  }

  [Symbol.dispose](): void {
    this.algorithm[Symbol.dispose]?.();
  }
}
