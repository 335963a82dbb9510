/** Places to listen at, as an operator writes them, and complete. */

import type { Underscores } from "../http/proxy_fields.ts";
import { TrustedProxies } from "../http/trusted_proxies.ts";
import { formatAddress } from "../upstream/peer.ts";
import { type ByteSize, type Duration, formatDuration, parseByteSize, parseDuration } from "../core/units.ts";
import {
  denoCanServe,
  type ListenTlsOptions,
  type ResolvedCertificate,
  type ResolvedClientCertificates,
  type ResolvedListenTls,
  resolveListenTls,
} from "./listen_tls.ts";

/**
 * One address to listen at, with its options.
 *
 * @example Port 80 sends clients to port 443
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   listen: [
 *     { port: 443, tls: { cert: "cert.pem", key: "key.pem" }, maxConnectionsPerClient: 100 },
 *     { port: 80, redirect: "https" },
 *   ],
 * });
 * ```
 */
export interface ListenOptions {
  /**
   * Address or name of this machine; `"0.0.0.0"` is every IPv4 address of it, `"::"` every address.
   *
   * @default {"0.0.0.0"}
   */
  hostname?: string;
  /** TCP port; 0 lets the system choose. @default {6188} */
  port?: number;
  /** Speaks TLS to clients, HTTP/2 and HTTP/1.1 as they choose. @default {none} */
  tls?: ListenTlsOptions;
  /** Path of a unix socket, in place of `hostname` and `port`; a socket file that no process listens at is replaced. @default {none} */
  unix?: string;
  /**
   * Sends every client to the same URL with `https` instead of forwarding anything: `"https"`, or `"https:PORT"` where
   * clients reach the TLS listener at another port than 443. Not with `tls`.
   *
   * @default {none}
   */
  redirect?: "https" | `https:${number}`;
  /**
   * What happens to header fields of requests that have an underscore in their names. CGI, WSGI and PHP read
   * `X_Api_Key` as `X-Api-Key`, so a client could use the one to get past a filter that checks or removes the other.
   *
   * - `"drop"`: removed before keys, routes, filters and servers see them, as in nginx;
   * - `"refuse"`: 400;
   * - `"pass"`: kept. Use it only when no server reads them as other fields.
   *
   * @default {"drop"}
   */
  underscores?: "drop" | "refuse" | "pass";
  /**
   * Lets other processes listen at the same address, if they set it too: a new process can start before the old one
   * stops. The system spreads connections over them. For Linux, with `--unstable-net`.
   *
   * @default {false}
   */
  reusePort?: boolean;
  /**
   * Which HTTP server serves clients: `"http1"`, the proxy's own for HTTP/1.1 and HTTP/2; `"deno"`, that of the
   * runtime; `"auto"`, the proxy's own. @default {"auto"}
   */
  engine?: "auto" | "http1" | "deno";
  /**
   * Load balancers in front that send the address of the client in a header of the PROXY protocol (version 1 or 2). This
   * header must come first on each of their connections; from other addresses it is not accepted.
   *
   * @default {none}
   */
  proxyProtocol?: {
    /** Addresses, networks, `"loopback"`, `"private"`, or `"unix"` for clients of a unix socket. */
    from: readonly string[];
  };
  /**
   * Whether clients may speak HTTP/2 without TLS, from the first byte on (RFC 9113 section 3.3); by the engine `"http1"`
   * alone. For TLS see `tls.http2`.
   *
   * @default {false}
   */
  http2?: boolean;
  /** How long clients may take; this and the following options are for the engine `"http1"` alone. @default {{}} */
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
     * While no byte of a response can be sent to a client that has shut down its side: the client may be gone, and
     * TCP does not tell.
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
   * Most connections at the same time. When a further client connects, the connection that has been idle for longest
   * is closed. A connection counts as busy when it has been idle for less than 250 ms, or is younger than a second
   * and has sent no request. While clients wait to be accepted, each response closes its connection, so that clients
   * take turns.
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

/** Whose PROXY headers count. */
export type ProxyProtocolOptions = NonNullable<ListenOptions["proxyProtocol"]>;

/** Names of the engines, which talk to clients. */
export const ENGINE_NAMES: readonly EngineName[] = ["auto", "http1", "deno"];
/** Name of one of them. */
export type EngineName = NonNullable<ListenOptions["engine"]>;

/** `"host:port"`, a port, or the object form. */
export type Listen = string | number | ListenOptions;

/** One place to listen at, complete. */
export interface ResolvedListen {
  readonly hostname: string;
  readonly port: number;
  /** None on a listener without TLS. */
  readonly tls?: ResolvedListenTls;
  /** Path of the socket, which takes the place of host and port. */
  readonly unix?: string;
  /** Port that clients are sent to; none on a listener that forwards. */
  readonly redirectPort?: number;
  /** What becomes of fields with underscores in their names; none where they are dropped. */
  readonly underscores?: Exclude<Underscores, "drop">;
  /** Whether clients may speak HTTP/2 without TLS; there only if they may. */
  readonly http2?: true;
  /** Who talks to clients. */
  readonly engine: "http1" | "deno";
  /** Whether other processes listen at the same address. */
  readonly reusePort?: true;
  /** What clients are allowed; of no meaning to `"deno"`. */
  readonly limits: ClientLimits;
  /** Whose PROXY headers count; none where nobody's do. */
  readonly proxyProtocol?: TrustedProxies;
}

const DEFAULT_HOSTNAME = "0.0.0.0";
const DEFAULT_PORT = 6188;
const NO_OPTIONS = resolveClientLimits({});
const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.]+)?)\]|([^\s:/?#@[\],*]+)):(\d{1,5})$/;

/**
 * Reads one place to listen at: `"host:port"`, `"unix:/path"`, a port number, or an object; `undefined` when it is none.
 *
 * Port 0 lets the system choose.
 */
export function parseListen(place: unknown): ResolvedListen | undefined {
  switch (typeof place) {
    case "number":
      return parseOptions({ port: place });
    case "string":
      return parseText(place);
    case "object":
      return place === null ? undefined : parseOptions(place);
    default:
      return undefined;
  }
}

/** Completes the places to listen at, which are known to be good. */
export function resolveListen(listen: Listen | readonly Listen[] = {}): readonly ResolvedListen[] {
  const places = Array.isArray(listen) ? listen as readonly Listen[] : [listen as Listen];
  return Object.freeze(places.map((place) => completeListen(place)));
}

// While a configuration is only validated, these options may be anything; see `parseListen`.
function completeListen(place: Listen): ResolvedListen {
  const resolved = parseListen(place)!;
  if (typeof place !== "object") return resolved;
  const { proxyProtocol } = place;
  return Object.freeze({
    ...resolved,
    limits: resolveClientLimits(place),
    ...(proxyProtocol === undefined || proxyProtocol.from.length === 0
      ? {}
      : { proxyProtocol: new TrustedProxies(proxyProtocol.from) }),
  });
}

/** The engine that a place gets. */
function engineOf(engine: EngineName = "auto"): Exclude<EngineName, "auto"> {
  return engine === "auto" ? "http1" : engine;
}

/**
 * The same place by another engine.
 *
 * @returns what is in the way of it, as a text, when something is
 */
export function withEngine(listen: ResolvedListen, name: EngineName): ResolvedListen | string {
  const { tls, limits, proxyProtocol } = listen;
  const engine = engineOf(name);
  if (engine === "deno") {
    if (tls !== undefined && !denoCanServe(tls)) {
      return "it takes one certificate, for every name, and HTTP/2";
    }
    if (proxyProtocol !== undefined) return "it takes no PROXY headers";
    const [first] = describeClientLimits(limits);
    if (first !== undefined) return `it cannot limit clients (${first})`;
  }
  return Object.freeze({ ...listen, engine });
}

function parseOptions(options: ListenOptions): ResolvedListen | undefined {
  const { hostname = DEFAULT_HOSTNAME, port = DEFAULT_PORT, tls, unix, redirect, underscores = "drop" } =
    options;
  const { http2 = false, reusePort = false } = options;
  if (typeof hostname !== "string" || !Number.isInteger(port) || port < 0 || port > 65535) return undefined;
  if (unix !== undefined && (typeof unix !== "string" || !unix.startsWith("/"))) return undefined;
  const redirectPort = redirect === undefined ? undefined : parseRedirect(redirect);
  return Object.freeze({
    hostname,
    port,
    ...(tls === undefined ? {} : { tls: resolveListenTls(tls) }),
    ...(unix === undefined ? {} : { unix }),
    ...(redirectPort === undefined ? {} : { redirectPort }),
    ...(underscores === "drop" ? {} : { underscores }),
    ...(http2 ? { http2 } : {}),
    ...(reusePort ? { reusePort } : {}),
    engine: engineOf(options.engine),
    limits: NO_OPTIONS,
  });
}

/** Reads `"https"` or `"https:PORT"` as the port; `undefined` when it is neither. */
export function parseRedirect(redirect: unknown): number | undefined {
  if (redirect === "https") return 443;
  const digits = typeof redirect === "string" ? /^https:(\d{1,5})$/.exec(redirect)?.[1] : undefined;
  const port = Number(digits ?? 0);
  return port >= 1 && port <= 65535 ? port : undefined;
}

function parseText(text: string): ResolvedListen | undefined {
  if (text.startsWith("unix:")) return parseOptions({ unix: text.slice(5) });
  const match = HOST_PORT.exec(text);
  if (match === null) return undefined;
  const hostname = (match[1] ?? match[2])!;
  return isBrokenIpv4(hostname) ? undefined : parseOptions({ hostname, port: Number(match[3]) });
}

/** Writes a place to listen at the way it is configured: `host:port`, an IPv6 address in brackets, or `unix:/path`. */
export function formatListen(
  { hostname, port, unix }: Pick<ResolvedListen, "hostname" | "port" | "unix">,
): string {
  if (unix !== undefined) return `unix:${unix}`;
  return formatAddress({ kind: "tcp", hostname, port });
}

const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = new RegExp(`^(?:${OCTET}\\.){3}${OCTET}$`);

/**
 * Whether a host is made of numbers without being an IPv4 address: `10.0.0.256`, `10.0.0`, `010.0.0.1`.
 *
 * Resolvers read some of these as other addresses than their author meant.
 */
export function isBrokenIpv4(hostname: string): boolean {
  return /^[\d.]+$/.test(hostname) && !IPV4.test(hostname);
}

/** Writes one place for people; keys and certificates are named by their files, not shown. */
export function describeListen(listen: ResolvedListen): string {
  const { underscores, limits, proxyProtocol, engine, http2, reusePort } = listen;
  const parts = [describePlace(listen)];
  if (engine === "deno") parts.push("by the runtime's server");
  if (http2 === true) parts.push("HTTP/2 too");
  if (reusePort === true) parts.push("beside other processes");
  if (underscores !== undefined) {
    const fate = underscores === "pass" ? "passes" : "refuses requests with";
    parts.push(`${fate} underscores in names of fields`);
  }
  if (proxyProtocol !== undefined) parts.push(`PROXY protocol from ${proxyProtocol.entries.join(" ")}`);
  return [...parts, ...describeClientLimits(limits)].join(", ");
}

function describePlace(listen: ResolvedListen): string {
  const { tls, redirectPort } = listen;
  const place = formatListen(listen);
  if (redirectPort !== undefined) {
    return `${place}, redirects clients to https${redirectPort === 443 ? "" : ` at port ${redirectPort}`}`;
  }
  if (tls === undefined) return place;
  const { certificates, lookup, refusesUnknown, minVersion, http2, clientCertificates } = tls;
  const parts = [
    `${place}, TLS${minVersion === "1.2" ? "" : ` ${minVersion}`}${http2 ? " with HTTP/2" : ""}`,
  ];
  for (const [index, certificate] of certificates.entries()) {
    parts.push(describeCertificate(certificate, index));
  }
  if (lookup !== null) parts.push("certificates that certificates() finds");
  if (refusesUnknown) parts.push("no other names");
  if (clientCertificates !== null) parts.push(describeClients(clientCertificates));
  return parts.join(", ");
}

function describeClients({ ca, mode, verify }: ResolvedClientCertificates): string {
  const judges = [
    ...(ca.length === 0 ? [] : [`${ca.length} ${ca.length === 1 ? "authority" : "authorities"}`]),
    ...(verify === null ? [] : ["verify()"]),
  ];
  return `clients ${mode === "require" ? "must" : "may"} show a certificate that ${
    judges.join(" and ")
  } let in`;
}

function describeCertificate({ names, cert, key }: ResolvedCertificate, index: number): string {
  const files = [cert, key].filter((text) => !text.includes("-----BEGIN"));
  const origin = files.length === 0 ? "given as text" : `from ${files.join(" and ")}, read again on change`;
  const whose = names !== null ? ` of ${names.join(" ")}` : index === 0 ? "" : " of the names in it";
  return `certificate${whose} ${origin}`;
}

// What clients are allowed.

/** The options of a listener that say what clients are allowed. */
export type ClientLimitOptions = Pick<
  ListenOptions,
  | "timeouts"
  | "minContentRate"
  | "maxRequestsPerConnection"
  | "maxConnections"
  | "maxConnectionsPerClient"
  | "maxHeadBytes"
  | "maxFields"
>;

/** How long clients may take. */
export type ClientTimeoutOptions = NonNullable<ListenOptions["timeouts"]>;

/** What a listener allows its clients, complete; times in milliseconds, `Infinity` where there is no limit. */
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
function describeClientLimits(limits: ClientLimits): string[] {
  const usual = resolveClientLimits({});
  return SHOWN.filter(([key]) => limits[key] !== usual[key]).map(([key, name]) => {
    const value = limits[key]!;
    if (key.endsWith("Ms")) return `${name} within ${formatDuration(value)}`;
    return `${key === "minContentRate" ? "at least" : "at most"} ${value} ${name}`;
  });
}
