/** Decides which servers are eligible for requests. */

/** The state of a server on which its eligibility depends. */
export interface Standing {
  /** `false` if an operator has disabled the server. */
  readonly enabled: boolean;
  /** Whether the server finishes its requests and gets no new ones. */
  readonly draining: boolean;
  /** Whether active checks pass; `true` without checks. */
  readonly healthy: boolean;
  /** Whether the server gets no requests for a time because requests failed. */
  readonly ejected: boolean;
  /** Whether the server has as many requests in flight as allowed. */
  readonly full: boolean;
}

/** Why a server is not eligible. */
type Ineligibility = "disabled" | "draining" | "unhealthy" | "ejected" | "full";

/**
 * Returns why a server is not eligible now; `null` if it is.
 *
 * `"full"` is checked last: it is the only reason that may end soon, while a request waits.
 *
 * @param mayDrain whether a draining server is eligible, for its sticky clients
 */
export function ineligibility(standing: Standing, mayDrain = false): Ineligibility | null {
  if (!standing.enabled) return "disabled";
  if (standing.draining && !mayDrain) return "draining";
  if (!standing.healthy) return "unhealthy";
  if (standing.ejected) return "ejected";
  return standing.full ? "full" : null;
}

/**
 * Whether a server is eligible if it is not full.
 *
 * This changes rarely, so algorithms keep lists of available servers and check only {@linkcode Standing.full} for each
 * request. With `panic`, failed checks and ejection are ignored; the settings of operators are not.
 */
export function isAvailable(standing: Standing, panic = false): boolean {
  const reason = ineligibility(standing);
  if (reason === null || reason === "full") return true;
  return panic && (reason === "unhealthy" || reason === "ejected");
}

/** All results of {@linkcode serverState}. */
export const SERVER_STATES = ["up", "disabled", "draining", "unhealthy", "ejected", "full"] as const;

/** Why a server is not eligible, or `"up"`. */
export function serverState(standing: Standing): typeof SERVER_STATES[number] {
  return ineligibility(standing) ?? "up";
}
