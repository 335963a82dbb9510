/** What is logged of one request. */

/** One finished request; the proxy fills it once, after the last byte. */
export interface AccessEntry {
  /** The id that `requestId()` has given the request, otherwise its number in its process. */
  readonly requestId: string;
  /** Address of the client; `""` when it has none (unix socket). */
  readonly clientIp: string;
  /** Method of the client's request. */
  readonly method: string;
  /** Path and query as received, not normalised; bytes above 0x7F percent-encoded. */
  readonly target: string;
  /** Status that was sent; 499 when the client went away before. */
  readonly status: number;
  /** Name of the route that took the request; `null` where there are no routes, or none took it. */
  readonly route: string | null;
  /** Address of the server that was asked last, as configured; `null` when none was. */
  readonly server: string | null;
  /** Name of that server's pool; `null` without a server, `""` for one that a filter named outright. */
  readonly pool: string | null;
  /** From the arrival of the request to the last byte of the answer. */
  readonly durationMs: number;
  /** Bytes of content that were sent. */
  readonly bytesSent: number;
  /** How often a server was tried. */
  readonly attempts: number;
  /** Name of the policy that refused the request; `null` when it was let through. */
  readonly limitedBy: string | null;
  /** Names of the policies that would have refused the request, were they not on a dry run. */
  readonly wouldLimit: readonly string[];
  /** Error type such as `connection_refused`; `null` when nothing failed. */
  readonly error: string | null;
}
