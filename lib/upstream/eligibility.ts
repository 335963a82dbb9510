/** The one rule about who may be sent a request. */

/** What the rule looks at. */
export interface Standing {
  /** `false` when an operator took the server out. */
  readonly enabled: boolean;
  /** Running requests are finished, new ones go elsewhere. */
  readonly draining: boolean;
  /** What active checks say; `true` without checks. */
  readonly healthy: boolean;
  /** Out for a while because real requests failed. */
  readonly ejected: boolean;
  /** As many requests run as the server may have at once. */
  readonly full: boolean;
}

/** Why a server may not be sent a request. */
export type Ineligibility = "disabled" | "draining" | "unhealthy" | "ejected" | "full";

/**
 * Tells why a server may not be sent a request now; `null` when it may.
 *
 * `"full"` comes last: it is the only reason that passes by itself within one request.
 *
 * @param mayDrain whether it is no reason that the server drains: for clients that it has already
 */
export function ineligibility(standing: Standing, mayDrain = false): Ineligibility | null {
  if (!standing.enabled) return "disabled";
  if (standing.draining && !mayDrain) return "draining";
  if (!standing.healthy) return "unhealthy";
  if (standing.ejected) return "ejected";
  return standing.full ? "full" : null;
}

/**
 * Whether a server may be considered at all, its requests in flight left aside.
 *
 * Changes rarely, so selectors keep lists of available servers and look only at {@linkcode Standing.full} for
 * each request. With `panic` what checks and ejection say is ignored; what an operator says never is.
 */
export function isAvailable(standing: Standing, panic = false): boolean {
  const reason = ineligibility(standing);
  if (reason === null || reason === "full") return true;
  return panic && (reason === "unhealthy" || reason === "ejected");
}
