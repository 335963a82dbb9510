/** The one word for how a server stands. */

import type { Server } from "./server.ts";

/** Every word that {@linkcode serverState} has. */
export const SERVER_STATES = ["up", "disabled", "draining", "unhealthy", "ejected", "full"] as const;

/** Why the server gets no requests, or `"up"`. */
export function serverState(server: Server): typeof SERVER_STATES[number] {
  return server.ineligibility ?? "up";
}
