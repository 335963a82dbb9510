/** Which requests are traced, as an operator writes it. */

/** Whose traces are continued. */
export const TRACE_TRUST: readonly TraceTrust[] = ["anyone", "trusted", "nobody"];
/** Names of them. */
export type TraceTrust = "anyone" | "trusted" | "nobody";

/** Which requests are traced. */
export interface TracingOptions {
  /** The share of requests with which a trace begins, where their clients have not begun one. @default {0.01} */
  sample?: number;
  /**
   * Whose `traceparent` is continued: that of `"anyone"`, of `"trusted"` proxies in front only, or of `"nobody"`; that of others
   * is dropped together with `tracestate`. Who is believed decides what a trace of its own costs the proxy.
   *
   * @default {"anyone"}
   */
  continue?: TraceTrust;
}

/** The same, complete. */
export type ResolvedTracing = Readonly<Required<TracingOptions>>;

/** Completes what is known to be good; `null` when nothing is traced. */
export function resolveTracing(options: boolean | TracingOptions = false): ResolvedTracing | null {
  if (options === false) return null;
  const { sample = 0.01, continue: trust = "anyone" } = options === true ? {} : options;
  return Object.freeze({ sample, continue: trust });
}
