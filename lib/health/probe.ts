/** One look at a server. */

import type { Server } from "../upstream/server.ts";

/**
 * Looks whether a server works: fulfilled when it does, rejected with the reason when it does not.
 *
 * The signal aborts when the time is up or nobody wants to know any more; a probe then lets go of what it holds.
 */
export interface Probe {
  (server: Server, signal: AbortSignal): Promise<void>;
  /** Lets go of what is kept from one look to the next. */
  forget?(server: Server): void;
}
