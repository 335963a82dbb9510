/** One look at a server. */

import type { Server } from "../upstream/server.ts";

/**
 * Looks whether a server works: fulfilled when it does, rejected with the reason when it does not.
 *
 * The signal aborts when the time is up or nobody wants to know any more; a probe then lets go of what it holds.
 */
export type Probe = (server: Server, signal: AbortSignal) => Promise<void>;
