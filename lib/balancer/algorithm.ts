/** What every algorithm that chooses a server gets, and the group of servers it chooses from. */

import { isAvailable } from "../upstream/eligibility.ts";
import type { Outcome, Server } from "../upstream/server.ts";

/** Servers to choose from. A change makes a new object, so an algorithm compares identity to notice it. */
export interface Candidates {
  /** The servers that are available and have weight, in the order of the pool. */
  readonly servers: readonly Server[];
  /** The weight of each server now, above 0. */
  readonly weights: Float64Array;
  /** Sum of {@linkcode weights}. */
  readonly totalWeight: number;
  /**
   * All servers with weight, available or not. Stays the same array until a server is added, is removed or changes
   * its weight: use it for what must not move when health changes.
   */
  readonly members: readonly Server[];
  /** Requests in flight at all servers of the pool. */
  readonly load: { readonly inFlight: number };
}

/** What a server is chosen by. */
export interface PickRequest {
  /** The key that hashing algorithms hash; without one the servers take turns. */
  readonly key?: string | Uint8Array | undefined;
  /** Value of the cookie that ties a client to a server; read only where sessions are sticky. */
  readonly session?: string | null | undefined;
  /** Servers that this request has tried already. */
  readonly exclude?: readonly Server[] | undefined;
  /** What a custom function gets, such as the request and its context. */
  readonly source?: unknown;
}

/** One choice: tells which servers the request may go to. */
export class Selection {
  readonly key: string | Uint8Array | undefined;
  readonly source: unknown;
  readonly #exclude: readonly Server[] | undefined;
  #refusalsLeft: number;

  constructor({ key, exclude, source }: PickRequest, maxIterations: number) {
    this.key = key;
    this.source = source;
    this.#exclude = exclude;
    this.#refusalsLeft = maxIterations;
  }

  /** Whether the request has been at a server before. */
  get retries(): boolean {
    return this.#exclude !== undefined && this.#exclude.length > 0;
  }

  /** Whether the request may go to this candidate; always false after too many refusals. */
  accepts(server: Server): boolean {
    if (this.#refusalsLeft <= 0) return false;
    if (!server.full && !(this.#exclude !== undefined && this.#exclude.includes(server))) return true;
    this.#refusalsLeft--;
    return false;
  }
}

/** A way of choosing a server. */
export interface Algorithm {
  /** Chooses one of the candidates that the selection accepts, or nothing; never throws. */
  pick(candidates: Candidates, selection: Selection): Server | undefined;
  /** Builds what takes long, so that no request has to wait for it. */
  prepare?(candidates: Candidates): void;
  /** Takes in how a request ended, and how long its response took. */
  observe?(server: Server, outcome: Outcome, latencyMs: number): void;
  /** Takes in that a server has one request more or less in flight. */
  loadChanged?(server: Server): void;
  /** Releases what it holds. */
  [Symbol.dispose]?(): void;
}

/** Servers of one rank and what they share. */
interface Rank {
  /** All servers with weight, available or not. */
  readonly members: readonly Server[];
  /** Requests in flight at all servers of the pool. */
  readonly load: { readonly inFlight: number };
  /** Whether servers count that are out only because of checks or ejection. */
  readonly panic: boolean;
}

/** Lists the servers that may be sent requests. */
export function listCandidates({ members, load, panic }: Rank): Candidates {
  const servers = members.filter((server) => isAvailable(server, panic));
  const weights = Float64Array.from(servers, (server) => server.effectiveWeight);
  const totalWeight = weights.reduce((sum, weight) => sum + weight, 0);
  return { servers, weights, totalWeight, members, load };
}

/** The primary servers or the backups of a pool, and the algorithm that chooses one of them. */
export class Tier implements Disposable {
  algorithm: Algorithm;
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

  /** Sets its members; call {@linkcode refresh} afterwards. */
  setMembers(members: readonly Server[]): void {
    this.#members = members;
  }

  /** Lists the candidates anew; panics when less than this share of the servers in use is available. */
  refresh(panicThreshold: number): void {
    const members = this.#members;
    if (panicThreshold > 0) {
      const allowed = members.filter((server) => server.enabled && !server.draining);
      const available = allowed.filter((server) => server.available);
      this.#panic = available.length < panicThreshold * allowed.length;
    }
    this.#candidates = listCandidates({ members, load: this.#load, panic: this.#panic });
  }

  /** Chooses one of the candidates, or nothing. */
  pick(selection: Selection): Server | undefined {
    if (this.#candidates.servers.length === 0) return undefined;
    return this.algorithm.pick(this.#candidates, selection);
  }

  [Symbol.dispose](): void {
    this.algorithm[Symbol.dispose]?.();
  }
}
