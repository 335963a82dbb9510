/** What all ways of choosing a server have in common. */

import type { Outcome, Server } from "../upstream/server.ts";

/** Servers among which to choose; a new object after each change, so whoever derives something compares identity. */
export interface Candidates {
  /** Those that are available and have weight, in the order of the pool. */
  readonly servers: readonly Server[];
  /** The weight of each at this moment, above 0. */
  readonly weights: Float64Array;
  /** Sum of {@linkcode weights}. */
  readonly totalWeight: number;
  /**
   * All with weight, whether available or not; the same array until a server comes, goes or changes its weight.
   * For what must not move when health changes.
   */
  readonly members: readonly Server[];
  /** Requests that run at all servers of the pool together. */
  readonly load: { readonly inFlight: number };
}

/** What is chosen by. */
export interface PickRequest {
  /** What hashing algorithms hash; without one they take turns. */
  readonly key?: string | Uint8Array | undefined;
  /** Value of the cookie that ties a client to a server; read only where sessions are sticky. */
  readonly session?: string | null | undefined;
  /** Servers that this request has tried already. */
  readonly exclude?: readonly Server[] | undefined;
  /** What a custom function is handed, such as the request and its context. */
  readonly source?: unknown;
}

/** One choice while it is made: says which servers will do. */
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

  /** Whether the request may go to this one of the candidates; after too many refusals, to none. */
  accepts(server: Server): boolean {
    if (this.#refusalsLeft <= 0) return false;
    if (!server.full && !(this.#exclude !== undefined && this.#exclude.includes(server))) return true;
    this.#refusalsLeft--;
    return false;
  }
}

/** A way of choosing. */
export interface Algorithm {
  /** Chooses one of the candidates that the selection accepts, or nothing; never throws. */
  pick(candidates: Candidates, selection: Selection): Server | undefined;
  /** Builds what takes long now, so that no request has to wait for it. */
  prepare?(candidates: Candidates): void;
  /** Learns how a request ended, and how long its answer took. */
  observe?(server: Server, outcome: Outcome, latencyMs: number): void;
  /** Learns that a server has one request more or less in flight. */
  loadChanged?(server: Server): void;
  /** Lets go of what it holds. */
  [Symbol.dispose]?(): void;
}
