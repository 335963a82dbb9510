/** From the servers of a pool to those among which to choose. */

import { isAvailable } from "../upstream/eligibility.ts";
import type { Server } from "../upstream/server.ts";
import type { Candidates } from "./algorithm.ts";

/** Servers of one rank and what they share. */
export interface Rank {
  /** All with weight, whether available or not. */
  readonly members: readonly Server[];
  /** Requests that run at all servers of the pool together. */
  readonly load: { readonly inFlight: number };
  /** Whether those count too of which only checks and ejection say no. */
  readonly panic: boolean;
}

/** Lists the servers that may be sent requests. */
export function listCandidates({ members, load, panic }: Rank): Candidates {
  const servers = members.filter((server) => isAvailable(server, panic));
  const weights = Float64Array.from(servers, (server) => server.effectiveWeight);
  const totalWeight = weights.reduce((sum, weight) => sum + weight, 0);
  return { servers, weights, totalWeight, members, load };
}
