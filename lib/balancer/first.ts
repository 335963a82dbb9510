/** Chooses the first server that may be used. */

import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/** Always takes the first usable server of the list: the others stand by, or take what the first is too full for. */
export class First implements Algorithm {
  pick({ servers }: Candidates, selection: Selection): Server | undefined {
    for (let i = 0; i < servers.length; i++) if (selection.accepts(servers[i]!)) return servers[i];
    return undefined;
  }
}
