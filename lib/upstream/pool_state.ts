/** What the servers of a pool and the pool itself share. */

import type { Server } from "./server.ts";

/** Numbers that every server of a pool writes, and whom it tells; servers know this and not the pool. */
export class PoolState {
  /** Grows with every change that may change a choice; who keeps a list of servers compares it. */
  version = 0;
  /** Grows when servers come, go, or change their weight or rank; health does not count. */
  membership = 0;
  /** Requests that run at all servers together. */
  inFlight = 0;
  /** Told when a request may fit in that did not before; `null` while nobody waits for that. */
  onRoom: (() => void) | null = null;
  /** Told when a server has one request more or less in flight; `null` while that interests nobody. */
  onLoad: ((server: Server) => void) | null = null;
  /** Told when a server that is leaving has finished its last request. */
  onIdle: ((server: Server) => void) | null = null;

  /** Says that a choice may be another from now on. */
  changed(): void {
    this.version++;
    this.onRoom?.();
  }

  /** Says that the members or their weights are others from now on. */
  membersChanged(): void {
    this.membership++;
    this.changed();
  }
}
