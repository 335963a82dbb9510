/** Servers: as an operator writes them, as a pool takes them, and as a transport connects to them. */

import { describeValue } from "../core/describe_value.ts";

/** Version of the PROXY protocol. */
export type ProxyProtocolVersion = NonNullable<Peer["sendProxyProtocol"]>;

/** TLS options of connections to a server. */
export type PeerTls = NonNullable<Peer["tls"]>;

/**
 * The target of requests: address, TLS and PROXY protocol.
 *
 * Transports keep connections by the identity of this object: make it once, freeze it, and use it for all requests.
 */
export interface Peer {
  /** Address of the server. */
  readonly address: Address;
  /** `null` means plain text. */
  readonly tls: {
    /** Name for SNI and for the verification of the certificate. */
    readonly serverName: string;
    /** PEM texts of CA certificates to trust in addition to those of the system. */
    readonly caCerts: readonly string[];
    /** PEM text of the client certificate. */
    readonly cert?: string;
    /** PEM text of the key of {@linkcode cert}. */
    readonly key?: string;
    /** `false` accepts a certificate for any name if a trusted CA has signed it. @default {true} */
    readonly verifyHostname?: boolean;
  } | null;
  /** Version of the PROXY protocol header at the start of each connection. @default {no header} */
  readonly sendProxyProtocol?: 1 | 2;
}

// Addresses of servers.

/** A TCP endpoint or a unix socket. */
export type Address =
  | { readonly kind: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** An address, and whether its scheme means TLS. */
export interface ParsedAddress {
  readonly address: Address;
  /** `true` for `https://`, `false` for `http://`, `null` without a scheme. */
  readonly secure: boolean | null;
}

/** The form of an address, for error messages. */
export const ADDRESS_EXPECTED = '"host:port"';

const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.]+)?)\]|([^\s:/?#@[\],*]+)):(\d{1,5})$/;

/**
 * Parses `host:port`, `[ipv6]:port`, `http://host[:port]`, `https://host[:port]` or `unix:/path`; `undefined` for any
 * other text.
 */
export function parseAddress(text: string): ParsedAddress | undefined {
  if (text.startsWith("unix:")) {
    const path = text.slice(5);
    return path.startsWith("/") ? { address: { kind: "unix", path }, secure: null } : undefined;
  }
  let rest = text;
  let secure: boolean | null = null;
  const scheme = /^(https?):\/\//.exec(text);
  if (scheme !== null) {
    secure = scheme[1] === "https";
    rest = text.slice(scheme[0].length).replace(/\/$/, "");
    if (!/:\d+$/.test(rest)) rest += secure ? ":443" : ":80";
  }
  const match = HOST_PORT.exec(rest);
  if (match === null) return undefined;
  const port = Number(match[3]);
  if (port < 1 || port > 65535) return undefined;
  return { address: { kind: "tcp", hostname: (match[1] ?? match[2])!, port }, secure };
}

/** Formats an address so that {@linkcode parseAddress} can parse it. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const { hostname, port } = address;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

// Servers as an operator writes them, and as a pool takes them.

/** A server with an address and options. */
export interface ServerSpec {
  /** `"host:port"` or `"unix:/path"`. */
  address: string;
  /** Share of the requests relative to the other servers: 0 (none) to 65535. @default {1} */
  weight?: number;
  /** Used only when no primary server can be used. @default {false} */
  backup?: boolean;
  /** Tags for filters and logs. @default {[]} */
  tags?: readonly string[];
  /** Most requests in flight at once. @default {Infinity} */
  maxInFlight?: number;
}

/** A server with all that a pool needs. */
export interface ServerInit {
  /** The address as configured; unique in its pool. */
  readonly id: string;
  /** The target for transports. */
  readonly peer: Peer;
  /** Share of the requests relative to the other servers: 0 (none) to 65535. @default {1} */
  readonly weight?: number;
  /** Used only when no primary server can be used. @default {false} */
  readonly backup?: boolean;
  /** Tags for filters and logs. @default {[]} */
  readonly tags?: readonly string[];
  /** Most requests in flight at once. @default {Infinity} */
  readonly maxInFlight?: number;
  /** @internal Slot of its state in shared memory, if the supervisor has allocated it. */
  readonly slot?: number;
}

/** Completes a server that an operator has written. */
export type ResolveServer = (spec: string | ServerSpec) => ServerInit;

/**
 * Completes a server without TLS.
 *
 * @throws {TypeError} when the address is invalid or has the scheme `https`
 */
export function resolvePlainServer(spec: string | ServerSpec): ServerInit {
  const { address: text, ...rest } = typeof spec === "string" ? { address: spec } : spec;
  const parsed = parseAddress(text);
  if (parsed === undefined || parsed.secure === true) {
    throw new TypeError(
      `Cannot add server: the address must be ${ADDRESS_EXPECTED}, received ${describeValue(text)}`,
    );
  }
  const peer = Object.freeze({ address: Object.freeze(parsed.address), tls: null });
  return { id: formatAddress(parsed.address), peer, ...rest };
}

/** Largest weight: sums of larger weights would not be exact. */
export const MAX_WEIGHT = 65_535;

/**
 * Checks the numbers of a server.
 *
 * @throws {RangeError} when the weight or the limit is invalid
 */
export function checkServerInit({ id, weight = 1, maxInFlight = Infinity }: Omit<ServerInit, "peer">): void {
  if (!(typeof weight === "number" && weight >= 0 && weight <= MAX_WEIGHT)) {
    throw new RangeError(
      `Cannot weigh server "${id}": the weight must be a number from 0 to ${MAX_WEIGHT}, received ${
        describeValue(weight)
      }`,
    );
  }
  if (!(maxInFlight === Infinity || (Number.isSafeInteger(maxInFlight) && maxInFlight >= 0))) {
    throw new RangeError(
      `Cannot limit server "${id}": "maxInFlight" must be a whole number from 0 on or Infinity, received ${
        describeValue(maxInFlight)
      }`,
    );
  }
}
