/** The first that will do. */

import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/** Always the first of the list that may be used: the others stand by, or take what the first is too full for. */
export class First implements Algorithm {
  pick({ servers }: Candidates, selection: Selection): Server | undefined {
    for (let i = 0; i < servers.length; i++) if (selection.accepts(servers[i]!)) return servers[i];
    return undefined;
  }
}
