/** Listen addresses, as configured and resolved. */

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
 * A listen address with its options.
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
   * Address or name of this machine; `"0.0.0.0"` is every IPv4 address, `"::"` every address.
   *
   * @default {"0.0.0.0"}
   */
  hostname?: string;
  /** TCP port; 0 lets the system choose. @default {6188} */
  port?: number;
  /** Accepts TLS from clients, with HTTP/2 and HTTP/1.1 as they choose. @default {none} */
  tls?: ListenTlsOptions;
  /**
   * Path of a unix socket, instead of `hostname` and `port`. A socket file without a listening process is replaced.
   * @default {none}
   */
  unix?: string;
  /**
   * Redirects every client to the same URL with `https` instead of forwarding: `"https"`, or `"https:PORT"` if clients
   * reach the TLS listener at another port than 443. Not with `tls`.
   *
   * @default {none}
   */
  redirect?: "https" | `https:${number}`;
  /**
   * Action for request header fields with an underscore in their names. CGI, WSGI and PHP read `X_Api_Key` as
   * `X-Api-Key`, so a client could use one to bypass a filter that checks or removes the other.
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
   * stops. The system distributes connections among them. For Linux, with `--unstable-net`.
   *
   * @default {false}
   */
  reusePort?: boolean;
  /**
   * HTTP server for clients: `"http1"`, the proxy's server for HTTP/1.1 and HTTP/2; `"deno"`, the server of the
   * runtime; `"auto"`, the proxy's server. @default {"auto"}
   */
  engine?: "auto" | "http1" | "deno";
  /**
   * Load balancers in front that send the address of the client in a header of the PROXY protocol (version 1 or 2).
   * This header must come first on each of their connections; it is not accepted from other addresses.
   *
   * @default {none}
   */
  proxyProtocol?: {
    /** Addresses, networks, `"loopback"`, `"private"`, or `"unix"` for clients of a unix socket. */
    from: readonly string[];
  };
  /**
   * Whether clients may use HTTP/2 without TLS, from the first byte (RFC 9113 section 3.3); only with the engine
   * `"http1"`. For TLS see `tls.http2`.
   *
   * @default {false}
   */
  http2?: boolean;
  /** Timeouts for clients; this and the following options are only for the engine `"http1"`. @default {{}} */
  timeouts?: {
    /** From the first byte of a request's head to its end; then 408. @default {"10s"} */
    head?: Duration;
    /** Without a request on a connection; then the connection is closed. @default {"75s"} */
    keepAlive?: Duration;
    /** Between two parts of a request's content; then 408. @default {"60s"} */
    content?: Duration;
    /** While a client receives nothing of a response; then the response is cut off. @default {"60s"} */
    write?: Duration;
    /**
     * While no byte of a response can be sent to a client that has shut down its side of the connection: TCP does not
     * show whether the client is gone.
     *
     * @default {"10s"}
     */
    halfClosed?: Duration;
  };
  /**
   * Minimum rate of request content in bytes per second, measured after the proxy has waited ten seconds for it. Slower
   * clients get 408. 0 is no minimum.
   *
   * @default {240}
   */
  minContentRate?: ByteSize;
  /** Closes a connection after this number of requests. @default {Infinity} */
  maxRequestsPerConnection?: number;
  /**
   * Maximum number of connections. When a further client connects, the connection that has been idle for longest is
   * closed. A connection counts as busy when it has been idle for less than 250 ms, or is younger than a second and has
   * sent no request. While clients wait to be accepted, each response closes its connection, so that clients take
   * turns.
   *
   * @default {half of the descriptors that the process may have, where it may find that out (`-A`); otherwise no limit}
   */
  maxConnections?: number;
  /**
   * Maximum number of connections of one address, or of one IPv6 network `/64`; further connections get 429.
   *
   * @default {Infinity}
   */
  maxConnectionsPerClient?: number;
  /** Maximum size of a request's head in bytes; 431 if it is larger. @default {"32KiB"} */
  maxHeadBytes?: ByteSize;
  /** Maximum number of field lines of a request; 431 if there are more. @default {200} */
  maxFields?: number;
}

/** Clients whose PROXY headers are accepted. */
export type ProxyProtocolOptions = NonNullable<ListenOptions["proxyProtocol"]>;

/** Names of the engines, which serve clients. */
export const ENGINE_NAMES: readonly EngineName[] = ["auto", "http1", "deno"];
/** Name of an engine. */
export type EngineName = NonNullable<ListenOptions["engine"]>;

/** `"host:port"`, a port, or the object form. */
export type Listen = string | number | ListenOptions;

/** A listen address with every default filled in. */
export interface ResolvedListen {
  readonly hostname: string;
  readonly port: number;
  /** Absent on a listener without TLS. */
  readonly tls?: ResolvedListenTls;
  /** Path of the socket, instead of host and port. */
  readonly unix?: string;
  /** Port for redirects; absent on a listener that forwards. */
  readonly redirectPort?: number;
  /** Action for fields with underscores in their names; absent if they are dropped. */
  readonly underscores?: Exclude<Underscores, "drop">;
  /** Whether clients may use HTTP/2 without TLS; absent if not. */
  readonly http2?: true;
  /** The engine that serves clients. */
  readonly engine: "http1" | "deno";
  /** Whether other processes may listen at the same address; absent if not. */
  readonly reusePort?: true;
  /** Limits for clients; without effect for `"deno"`. */
  readonly limits: ClientLimits;
  /** Clients whose PROXY headers are accepted; absent if there are none. */
  readonly proxyProtocol?: TrustedProxies;
}

const DEFAULT_HOSTNAME = "0.0.0.0";
const DEFAULT_PORT = 6188;
const NO_OPTIONS = resolveClientLimits({});
const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.]+)?)\]|([^\s:/?#@[\],*]+)):(\d{1,5})$/;

/**
 * Parses a listen address: `"host:port"`, `"unix:/path"`, a port number, or an object; `undefined` if it is invalid.
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

/** Fills in the defaults of validated listen addresses. */
export function resolveListen(listen: Listen | readonly Listen[] = {}): readonly ResolvedListen[] {
  const places = Array.isArray(listen) ? listen as readonly Listen[] : [listen as Listen];
  return Object.freeze(places.map((place) => completeListen(place)));
}

// During validation these options may have any type; see `parseListen`.
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

/** The engine for a listen address. */
function engineOf(engine: EngineName = "auto"): Exclude<EngineName, "auto"> {
  return engine === "auto" ? "http1" : engine;
}

/**
 * The same listen address with another engine.
 *
 * @returns the reason as a text if the engine does not support the options
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

/** Parses `"https"` or `"https:PORT"` and returns the port; `undefined` for other values. */
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

/** Formats a listen address as in a configuration: `host:port`, an IPv6 address in brackets, or `unix:/path`. */
export function formatListen(
  { hostname, port, unix }: Pick<ResolvedListen, "hostname" | "port" | "unix">,
): string {
  if (unix !== undefined) return `unix:${unix}`;
  return formatAddress({ kind: "tcp", hostname, port });
}

const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = new RegExp(`^(?:${OCTET}\\.){3}${OCTET}$`);

/**
 * Whether a host consists of numbers and is no IPv4 address: `10.0.0.256`, `10.0.0`, `010.0.0.1`.
 *
 * Resolvers read some of these as unintended addresses.
 */
export function isBrokenIpv4(hostname: string): boolean {
  return /^[\d.]+$/.test(hostname) && !IPV4.test(hostname);
}

/** Describes a listen address for people; keys and certificates are named by their files, not shown. */
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

// Limits for clients.

/** The options of a listener with limits for clients. */
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

/** Timeouts for clients. */
export type ClientTimeoutOptions = NonNullable<ListenOptions["timeouts"]>;

/** Limits for clients with every default filled in; times in milliseconds, `Infinity` without a limit. */
export interface ClientLimits {
  readonly headMs: number;
  readonly keepAliveMs: number;
  readonly contentMs: number;
  readonly writeMs: number;
  readonly halfClosedMs: number;
  /** Bytes per second; 0 for no minimum. */
  readonly minContentRate: number;
  readonly maxRequestsPerConnection: number;
  /** `null` for a limit by the available descriptors. */
  readonly maxConnections: number | null;
  readonly maxConnectionsPerClient: number;
  readonly maxHeadBytes: number;
  readonly maxFields: number;
}

/** Fills in the defaults of validated options. */
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

/** Describes limits that differ from the defaults. */
function describeClientLimits(limits: ClientLimits): string[] {
  const usual = resolveClientLimits({});
  return SHOWN.filter(([key]) => limits[key] !== usual[key]).map(([key, name]) => {
    const value = limits[key]!;
    if (key.endsWith("Ms")) return `${name} within ${formatDuration(value)}`;
    return `${key === "minContentRate" ? "at least" : "at most"} ${value} ${name}`;
  });
}
