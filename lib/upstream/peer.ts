/** What a transport has to know of a server to reach it. */

import type { Address } from "./address.ts";

/** How TLS towards a server is done. */
export interface PeerTls {
  /** Name for SNI and for the check of the certificate. */
  readonly serverName: string;
  /** PEM texts of certificate authorities that are trusted beside the system's. */
  readonly caCerts: readonly string[];
  /** PEM text of the client's certificate. */
  readonly cert?: string;
  /** PEM text of the key of {@linkcode cert}. */
  readonly key?: string;
  /** `false` takes a certificate for any name, as long as an authority that is trusted has signed it. @default {true} */
  readonly verifyHostname?: boolean;
}

/**
 * One place to send requests to.
 *
 * Transports keep connections by the identity of this object: make it once, freeze it, use it for all requests.
 */
export interface Peer {
  /** Where it listens. */
  readonly address: Address;
  /** `null` means plain text. */
  readonly tls: PeerTls | null;
}
