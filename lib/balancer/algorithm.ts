/** What every algorithm that chooses a server is and gets. */

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
export interface Selection {
  readonly key: string | Uint8Array | undefined;
  readonly source: unknown;
  /** Whether the request has been at a server before. */
  readonly retries: boolean;
  /** Whether the request may go to this candidate; always false after too many refusals. */
  accepts(server: Server): boolean;
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
