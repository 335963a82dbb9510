/** What a transport needs to reach a server. */

import type { Address } from "./address.ts";

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
    /** PEM texts of certificate authorities to trust beside those of the system. */
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
