/** Whether a server works, by a function of the user. */

import type { Server } from "../upstream/server.ts";
import type { Probe } from "./probe.ts";

/**
 * Looks at a server: `false` or an error means that it does not work, anything else that it does. The signal aborts
 * when the time of the check is up.
 */
export type CheckServer = (server: Server, signal: AbortSignal) => Promise<boolean | void>;

/** Makes a probe of a function of the user. */
export function customCheck(check: CheckServer): Probe {
  return async (server, signal) => {
    if (await check(server, signal) === false) throw new Error("the check returned false");
  };
}
