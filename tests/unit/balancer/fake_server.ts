/** Servers that nobody connects to. */

import type { Candidates } from "../../../lib/balancer/algorithm.ts";
import { listCandidates } from "../../../lib/balancer/load_balancer.ts";
import { Server } from "../../../lib/upstream/server.ts";
import type { ServerInit } from "../../../lib/upstream/peer.ts";

/** Makes a server of the given number, which becomes a part of its address. */
export function fakeServer(number: number, options: Partial<ServerInit> = {}): Server {
  const hostname = `10.0.${number >> 8}.${number & 255}`;
  return new Server({
    id: `${hostname}:80`,
    peer: { address: { kind: "tcp", hostname, port: 80 }, tls: null },
    ...options,
  });
}

/** Those of the servers that may be sent requests. */
export function candidatesOf(members: readonly Server[]): Candidates {
  const load = {
    get inFlight(): number {
      return members.reduce((sum, server) => sum + server.inFlight, 0);
    },
  };
  return listCandidates({ members, load, panic: false });
}
