/** An access log entry, for tests of log formats. */

import type { AccessEntry } from "../../lib/observe/observer.ts";

/** The entry of a request with a response from a server, except for given members. */
export function accessEntry(entry: Partial<AccessEntry> = {}): AccessEntry {
  return {
    requestId: "7",
    traceId: null,
    clientIp: "192.0.2.1",
    peerIp: "192.0.2.1",
    method: "GET",
    host: "h",
    target: "/a?b=c",
    protocol: "HTTP/1.1",
    tlsVersion: null,
    referer: null,
    userAgent: null,
    headers: {},
    status: 200,
    route: null,
    server: "127.0.0.1:9001",
    pool: "default",
    durationMs: 12.34567,
    queueMs: 0,
    connectMs: null,
    firstByteMs: 10,
    bytesSent: 5,
    bytesReceived: 0,
    attempts: 1,
    tries: [],
    limits: [],
    limitedBy: null,
    wouldLimit: [],
    error: null,
    end: "complete",
    ...entry,
  };
}
