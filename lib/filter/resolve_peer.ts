/** Converts an address and TLS options to a peer for transports. */

import { describeValue } from "../core/describe_value.ts";
import {
  type Address,
  ADDRESS_EXPECTED,
  formatAddress,
  parseAddress,
  type ParsedAddress,
  type Peer,
  type PeerTls,
  type ProxyProtocolVersion,
  type ResolveServer,
  type ServerSpec,
} from "../upstream/peer.ts";
import { BLOCKED_PORTS } from "../transport/fetch/fetch_messages.ts";
import { fitsSocks, MAX_SOCKS_BYTES } from "../transport/outbound_proxy.ts";

/** A server named directly by `upstreamPeer`. */
export interface PeerOptions {
  /** `"host:port"`, with or without a scheme, or `unix:/path`. */
  address: string;
  /**
   * TLS to the server; `true` uses the host of the address as server name.
   *
   * @default {on for an address that begins with "https://"}
   */
  tls?: boolean | UpstreamTlsOptions;
}

/**
 * TLS to servers.
 *
 * @example An authority of one's own, and another name than the address
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     servers: ["10.0.0.1:8443"],
 *     tls: { serverName: "api.internal" },
 *   },
 * });
 * ```
 */
export interface UpstreamTlsOptions {
  /** Name for SNI and for the check of the certificate. @default {the host of the server's address} */
  serverName?: string;
  /** PEM texts of authorities that are trusted in addition to those of the system. @default {none} */
  caCerts?: readonly string[];
  /** PEM text of the certificate that the proxy sends. @default {none} */
  cert?: string;
  /** PEM text of the private key of `cert`. @default {none} */
  key?: string;
  /**
   * `false` accepts a certificate for any name, if a trusted authority has signed it; not with `fetch`.
   * Untrusted or expired certificates are accepted only when Deno runs with `--unsafely-ignore-certificate-errors`.
   * @default {true}
   */
  verifyHostname?: boolean;
}

/** TLS as configured. */
type TlsSetting = boolean | UpstreamTlsOptions | undefined;

/** Options of a pool for the way to its servers. */
export interface Way {
  readonly tls?: TlsSetting;
  readonly transport?: unknown;
  readonly protocol?: unknown;
  /** An outbound proxy; absent without one. */
  readonly proxy?: unknown;
  /** Version of the PROXY header at the beginning of connections; absent without one. */
  readonly sendProxyProtocol?: unknown;
}

/**
 * The effective setting for a server: its options merged into those of its pool.
 *
 * `true` for the server means TLS with the options of the pool, if any.
 */
function effectiveTls(own: TlsSetting, pool: TlsSetting): TlsSetting {
  if (own === undefined) return pool;
  if (own === false || typeof pool !== "object") return own;
  return own === true ? pool : { ...pool, ...own };
}

/**
 * Finds a contradiction between an address and the way to it, which may have any value; `undefined` if there is none.
 * The message continues the path of the server.
 *
 * @param own TLS setting of the server
 */
export function findPeerProblem(parsed: ParsedAddress, own: unknown, way: Way): string | undefined {
  const tls = effectiveTls(own as TlsSetting, way.tls);
  return findTlsProblem(parsed, tls) ?? findFetchProblem(tls, way) ??
    findProxyProblem(parsed, tls ?? parsed.secure ?? false, way) ?? findHeaderProblem(tls, way);
}

/** The runtime does the handshake with a client certificate during connect, so nothing can be sent before it. */
function findHeaderProblem(tls: TlsSetting, { sendProxyProtocol }: Way): string | undefined {
  if (sendProxyProtocol === undefined || typeof tls !== "object" || tls?.cert === undefined) return undefined;
  return 'must not have "tls.cert" where there is "sendProxyProtocol", since nothing can be sent in front of such a handshake';
}

/** `fetch` always checks names. */
function findFetchProblem(tls: TlsSetting, { transport, proxy }: Way): string | undefined {
  if (typeof tls !== "object" || tls?.verifyHostname !== false) return undefined;
  const byFetch = transport === "fetch" || (proxy !== undefined && proxy !== null);
  return byFetch
    ? 'must not have "tls.verifyHostname" false where "fetch" is the transport, which always checks the name'
    : undefined;
}

/** Some addresses cannot be reached through a proxy, by `fetch` or at all. */
function findProxyProblem({ address }: ParsedAddress, tls: TlsSetting, way: Way): string | undefined {
  if (way.proxy === undefined || way.proxy === null) return undefined;
  if (address.kind === "unix") return 'must not be a unix socket where there is a "proxy"';
  if (String(way.proxy).startsWith("socks5:") && !fitsSocks(address.hostname)) {
    return `must not have a name of more than ${MAX_SOCKS_BYTES} bytes where the "proxy" is SOCKS`;
  }
  if (tls !== false) return undefined;
  if (way.protocol === "h2") return 'must have "tls" where "protocol" is "h2" and there is a "proxy"';
  return BLOCKED_PORTS.has(address.port)
    ? `must not have the port ${address.port}, which "fetch" refuses, where there is a "proxy"`
    : undefined;
}

function findTlsProblem(parsed: ParsedAddress, tls: TlsSetting): string | undefined {
  const { secure, address } = parsed;
  if (secure === true && tls === false) return 'must not be "https://" where "tls" is false';
  if (secure === false && tls !== undefined && tls !== false) {
    return 'must not be "http://" where "tls" is on; leave the scheme out, or set "tls" to false';
  }
  if (address.kind !== "unix" || tls === undefined || tls === false) return undefined;
  const named = typeof tls === "object" && tls !== null && tls.serverName !== undefined;
  return named ? undefined : 'must have "tls.serverName", since a unix socket has no host name';
}

/**
 * Makes a peer from validated options; frozen, because transports keep connections by its identity.
 *
 * @param own TLS setting of the server
 * @param way options of its pool
 */
export function resolvePeer(address: string, own?: TlsSetting, way: Way = {}): Peer {
  const parsed = parseAddress(address)!;
  const tls = effectiveTls(own, way.tls) ?? parsed.secure ?? false;
  const version = way.sendProxyProtocol as ProxyProtocolVersion | undefined;
  return Object.freeze({
    address: Object.freeze(parsed.address),
    tls: tls === false ? null : resolveTls(tls === true ? {} : tls, parsed.address),
    ...(version === undefined ? {} : { sendProxyProtocol: version }),
  });
}

function resolveTls(options: UpstreamTlsOptions, address: Address): PeerTls {
  const { serverName = address.kind === "tcp" ? address.hostname : "", caCerts = [], cert, key } = options;
  const { verifyHostname = true } = options;
  return Object.freeze({
    serverName,
    caCerts: Object.freeze([...caCerts]),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(verifyHostname ? {} : { verifyHostname }),
  });
}

/**
 * Makes a peer from options that have not been validated.
 *
 * @throws {TypeError} when the address is invalid, or contradicts the way to it
 */
export function checkedPeer(address: string, own?: TlsSetting, way: Way = {}): Peer {
  const parsed = parseAddress(address);
  if (parsed === undefined) {
    throw new TypeError(
      `Cannot use server: the address must be ${ADDRESS_EXPECTED}, received ${describeValue(address)}`,
    );
  }
  const problem = findPeerProblem(parsed, own, way);
  if (problem !== undefined) {
    throw new TypeError(`Cannot use server ${JSON.stringify(address)}: it ${problem}`);
  }
  return resolvePeer(address, own, way);
}

/** Resolves servers that are added to a pool at run time; they are reached like the others. */
export function resolveServer(way: Way): ResolveServer {
  return (spec) => {
    const { address, tls, ...rest } = (typeof spec === "string" ? { address: spec } : spec) as
      & ServerSpec
      & { readonly tls?: TlsSetting };
    const peer = checkedPeer(address, tls, way);
    return { id: formatAddress(peer.address), peer, ...rest };
  };
}
