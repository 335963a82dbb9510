/** The certificate of a client: what is known of it, and the field that tells servers. */

import type { HeaderFields } from "./header_fields.ts";

/** The certificate that a client has shown in its TLS handshake, with the proof that it has the key. */
export interface ClientCertificate {
  /** Whom it is for, the nearest part first: `CN=alice,O=Example` (RFC 4514). */
  readonly subject: string;
  /** Who has issued it, written in the same way. */
  readonly issuer: string;
  /** Its number with that issuer, in hexadecimal digits. */
  readonly serialNumber: string;
  /** Its other names (RFC 5280 section 4.2.1.6): `dns:a.example`, `email:a@b.example`, `uri:spiffe://a/b`, `ip:192.0.2.1`. */
  readonly names: readonly string[];
  /** SHA-256 of the whole certificate, as 64 hexadecimal digits in lower case. */
  readonly fingerprint: string;
  /** From when it is good. */
  readonly notBefore: Date;
  /** Until when it is good. */
  readonly notAfter: Date;
  /** Whether it leads to one of the authorities in `ca`; `false` where there are none, and `verify` alone has decided. */
  readonly verified: boolean;
  /** The certificate itself, in DER. */
  readonly der: Uint8Array<ArrayBuffer>;
}

/** Every way to write the two fields that servers may take for each other, behind CGI and its heirs. */
const FIELDS = ["client-cert", "client_cert"].flatMap((name) => [
  name,
  `${name}-chain`,
  `${name}_chain`,
]);

/**
 * Tells a server of the client's certificate by `Client-Cert` (RFC 9440), and of none by its absence. What the client says
 * itself is removed either way, `Client-Cert-Chain` too.
 */
export function setClientCert(headers: HeaderFields, certificate: ClientCertificate | null): void {
  for (const name of FIELDS) headers.delete(name);
  if (certificate !== null) headers.list.push("client-cert", `:${certificate.der.toBase64()}:`);
}
