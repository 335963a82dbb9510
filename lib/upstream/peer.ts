/** What a transport needs to reach a server, and its address. */

/** Version of the PROXY protocol. */
export type ProxyProtocolVersion = NonNullable<Peer["sendProxyProtocol"]>;

/** TLS to a server. */
export type PeerTls = NonNullable<Peer["tls"]>;

/**
 * Where requests are sent, and how.
 *
 * Transports keep connections by the identity of this object: make it once, freeze it, use it for all requests.
 */
export interface Peer {
  /** Where the server listens. */
  readonly address: Address;
  /** `null` means plain text. */
  readonly tls: {
    /** Name for SNI and for the check of the certificate. */
    readonly serverName: string;
    /** PEM texts of certificate authorities to trust in addition to those of the system. */
    readonly caCerts: readonly string[];
    /** PEM text of the client's certificate. */
    readonly cert?: string;
    /** PEM text of the key of {@linkcode cert}. */
    readonly key?: string;
    /** `false` accepts a certificate for any name if a trusted authority has signed it. @default {true} */
    readonly verifyHostname?: boolean;
  } | null;
  /** Version of the PROXY header that each connection begins with; none without it. */
  readonly sendProxyProtocol?: 1 | 2;
}

/** Addresses of servers. */

/** A TCP endpoint or a unix socket. */
export type Address =
  | { readonly kind: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** An address, and whether its scheme asks for TLS. */
export interface ParsedAddress {
  readonly address: Address;
  /** `true` for `https://`, `false` for `http://`, `null` without a scheme. */
  readonly secure: boolean | null;
}

/** The form of an address, for error messages. */
export const ADDRESS_EXPECTED = '"host:port"';

const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.]+)?)\]|([^\s:/?#@[\],*]+)):(\d{1,5})$/;

/**
 * Reads `host:port`, `[ipv6]:port`, `http://host[:port]`, `https://host[:port]` or `unix:/path`; `undefined` for any
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

/** Writes an address the way {@linkcode parseAddress} reads it. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const { hostname, port } = address;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}
