/** Decides which servers may be sent a request. */

/** The state of a server that decides it. */
export interface Standing {
  /** `false` when an operator disabled the server. */
  readonly enabled: boolean;
  /** Whether it finishes its requests and gets no new ones. */
  readonly draining: boolean;
  /** Whether active checks pass; `true` without checks. */
  readonly healthy: boolean;
  /** Whether it is out for a while because requests failed. */
  readonly ejected: boolean;
  /** Whether it has as many requests in flight as it may have. */
  readonly full: boolean;
}

/** Why a server may not be sent a request. */
type Ineligibility = "disabled" | "draining" | "unhealthy" | "ejected" | "full";

/**
 * Tells why a server may not be sent a request now; `null` when it may.
 *
 * `"full"` comes last: it is the only reason that may pass while a request waits.
 *
 * @param mayDrain whether a draining server may be sent the request: for clients that are tied to it
 */
export function ineligibility(standing: Standing, mayDrain = false): Ineligibility | null {
  if (!standing.enabled) return "disabled";
  if (standing.draining && !mayDrain) return "draining";
  if (!standing.healthy) return "unhealthy";
  if (standing.ejected) return "ejected";
  return standing.full ? "full" : null;
}

/**
 * Whether a server may be sent requests if it is not full.
 *
 * Changes rarely, so algorithms keep lists of available servers and look only at {@linkcode Standing.full} for each
 * request. With `panic`, failed checks and ejection do not count; what an operator set always does.
 */
export function isAvailable(standing: Standing, panic = false): boolean {
  const reason = ineligibility(standing);
  if (reason === null || reason === "full") return true;
  return panic && (reason === "unhealthy" || reason === "ejected");
}

/** Every result of {@linkcode serverState}. */
export const SERVER_STATES = ["up", "disabled", "draining", "unhealthy", "ejected", "full"] as const;

/** Why a server gets no requests, or `"up"`. */
export function serverState(standing: Standing): typeof SERVER_STATES[number] {
  return ineligibility(standing) ?? "up";
}
