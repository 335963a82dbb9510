/** The interface of balancing algorithms, and their input. */

import type { Outcome, Server } from "../upstream/server.ts";

/** Servers to choose from. Every change makes a new object, so algorithms detect changes by identity. */
export interface Candidates {
  /** The servers that are available and have weight, in the order of the pool. */
  readonly servers: readonly Server[];
  /** The weight of each server now, above 0. */
  readonly weights: Float64Array;
  /** Sum of {@linkcode weights}. */
  readonly totalWeight: number;
  /**
   * All servers with weight, available or not. The array is the same until a server is added or removed or changes its
   * weight: use it for data that must not change with health.
   */
  readonly members: readonly Server[];
  /** Requests in flight at all servers of the pool. */
  readonly load: { readonly inFlight: number };
}

/** The input of a choice. */
export interface PickRequest {
  /** The key for hashing algorithms; without one they use round robin. */
  readonly key?: string | Uint8Array | undefined;
  /** Value of the cookie of sticky sessions; read only with sticky sessions. */
  readonly session?: string | null | undefined;
  /** Servers that this request has already tried. */
  readonly exclude?: readonly Server[] | undefined;
  /** Argument for a custom function, such as the request and its context. */
  readonly source?: unknown;
}

/** One choice: decides which servers the request may go to. */
export interface Selection {
  readonly key: string | Uint8Array | undefined;
  readonly source: unknown;
  /** Whether the request was sent to a server before. */
  readonly retries: boolean;
  /** Whether the request may go to this candidate; always false after too many refusals. */
  accepts(server: Server): boolean;
}

/** A way of choosing a server. */
export interface Algorithm {
  /** Chooses one of the candidates that the selection accepts, or `undefined`; never throws. */
  pick(candidates: Candidates, selection: Selection): Server | undefined;
  /** Builds expensive data in advance, so that no request waits for it. */
  prepare?(candidates: Candidates): void;
  /** Receives the outcome of a request, and the time until its response. */
  observe?(server: Server, outcome: Outcome, latencyMs: number): void;
  /** Called when a server has one request more or less in flight. */
  loadChanged?(server: Server): void;
  /** Releases timers. */
  [Symbol.dispose]?(): void;
}
