/** How long clients of a listener may take, and how much they may take up. */

import { type ByteSize, type Duration, formatDuration, parseByteSize, parseDuration } from "../core/units.ts";

/** How long clients may take. */
export type ClientTimeoutOptions = NonNullable<ClientLimitOptions["timeouts"]>;

/** What a listener allows its clients, by the engine `"http1"` alone. */
export interface ClientLimitOptions {
  /** How long they may take. */
  timeouts?: {
    /** From the first byte of a request's head to its end; then 408. @default {"10s"} */
    head?: Duration;
    /** Without a request on a connection; then it is closed. @default {"75s"} */
    keepAlive?: Duration;
    /** Between two pieces of a request's content; then 408. @default {"60s"} */
    content?: Duration;
    /** While a client takes nothing of a response; then the response is cut off. @default {"60s"} */
    write?: Duration;
    /**
     * While nothing moves of a response whose client has shut down its side: it may have gone, which nobody can see.
     *
     * @default {"10s"}
     */
    halfClosed?: Duration;
  };
  /**
   * Fewest bytes of content a second that a client must send, once the proxy has waited ten seconds for it; slower
   * clients get 408. 0 is no minimum.
   *
   * @default {240}
   */
  minContentRate?: ByteSize;
  /** After how many requests a connection is closed. @default {Infinity} */
  maxRequestsPerConnection?: number;
  /**
   * Most connections at the same time. For one more the connection that has been idle for longest is closed, unless a request
   * may be on its way: it has been idle for less than 250 ms, or is younger than a second and has not asked anything. As long as
   * a client waits to be accepted, responses end their connections, so that clients take turns.
   *
   * @default {half of the descriptors that the process may have, where it may find that out (`-A`); otherwise no limit}
   */
  maxConnections?: number;
  /**
   * Most connections of one address at the same time, or of one network `/64` of IPv6; further ones get 429.
   *
   * @default {Infinity}
   */
  maxConnectionsPerClient?: number;
  /** Most bytes of a request's head; 431 for more. @default {"32KiB"} */
  maxHeadBytes?: ByteSize;
  /** Most field lines of a request; 431 for more. @default {200} */
  maxFields?: number;
}

/** The same, complete; times in milliseconds, `Infinity` where there is no limit. */
export interface ClientLimits {
  readonly headMs: number;
  readonly keepAliveMs: number;
  readonly contentMs: number;
  readonly writeMs: number;
  readonly halfClosedMs: number;
  /** Bytes a second; 0 is any. */
  readonly minContentRate: number;
  readonly maxRequestsPerConnection: number;
  /** `null` is as many as there are descriptors for. */
  readonly maxConnections: number | null;
  readonly maxConnectionsPerClient: number;
  readonly maxHeadBytes: number;
  readonly maxFields: number;
}

/** Completes what is known to be good. */
export function resolveClientLimits(options: ClientLimitOptions): ClientLimits {
  const { timeouts = {}, minContentRate = 240, maxHeadBytes = "32KiB", maxFields = 200 } = options;
  const { maxRequestsPerConnection = Infinity, maxConnections = null } = options;
  const { maxConnectionsPerClient = Infinity } = options;
  const { head = "10s", keepAlive = "75s", content = "60s", write = "60s", halfClosed = "10s" } = timeouts;
  return Object.freeze({
    headMs: parseDuration(head)!,
    keepAliveMs: parseDuration(keepAlive)!,
    contentMs: parseDuration(content)!,
    writeMs: parseDuration(write)!,
    halfClosedMs: parseDuration(halfClosed)!,
    minContentRate: parseByteSize(minContentRate)!,
    maxRequestsPerConnection,
    maxConnections,
    maxConnectionsPerClient,
    maxHeadBytes: parseByteSize(maxHeadBytes)!,
    maxFields,
  });
}

const SHOWN: readonly (readonly [keyof ClientLimits, string])[] = [
  ["headMs", "head"],
  ["keepAliveMs", "keep-alive"],
  ["contentMs", "content"],
  ["writeMs", "write"],
  ["halfClosedMs", "half closed"],
  ["minContentRate", "bytes of content a second"],
  ["maxRequestsPerConnection", "requests a connection"],
  ["maxConnections", "connections"],
  ["maxConnectionsPerClient", "connections a client"],
  ["maxHeadBytes", "bytes of a head"],
  ["maxFields", "fields"],
];

/** Writes for people what is other than usual. */
export function describeClientLimits(limits: ClientLimits): string[] {
  const usual = resolveClientLimits({});
  return SHOWN.filter(([key]) => limits[key] !== usual[key]).map(([key, name]) => {
    const value = limits[key]!;
    if (key.endsWith("Ms")) return `${name} within ${formatDuration(value)}`;
    return `${key === "minContentRate" ? "at least" : "at most"} ${value} ${name}`;
  });
}
