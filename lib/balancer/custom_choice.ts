/** Lets a function of the user choose. */

import { callAside, tellStrayError, unexpected } from "../core/callback.ts";
import { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";

/**
 * Chooses one of the servers that may be used; there is always at least one. In the proxy `source` is
 * `{ request, ctx }`. When it returns nothing, or a server that is not in the list, no server is chosen.
 */
export type ChooseServer = (servers: readonly Server[], source: unknown) => Server | undefined | void;

/** Calls a function of the user; when it throws, `onError` gets the error and no server is chosen. */
export class CustomChoice implements Algorithm {
  readonly #choose: ChooseServer;
  readonly #onError: (error: unknown) => void;

  constructor(choose: ChooseServer, onError: (error: unknown) => void = tell) {
    this.#choose = choose;
    this.#onError = onError;
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    const servers = candidates.servers.filter((server) => selection.accepts(server));
    if (servers.length === 0) return undefined;
    try {
      const chosen: unknown = this.#choose(servers, selection.source);
      if (chosen === undefined || chosen === null) return undefined;
      if (!(chosen instanceof Server)) throw unexpected("one of the servers or nothing", chosen);
      return servers.includes(chosen) ? chosen : undefined;
    } catch (error) {
      callAside(() => this.#onError(error), (again) => tellStrayError("onBalanceError", again));
      return undefined;
    }
  }
}

function tell(error: unknown): void {
  tellStrayError("balance", error);
}
