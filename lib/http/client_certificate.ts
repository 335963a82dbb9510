/** The certificate of a client, and the field that passes it to servers. */

import type { HeaderFields } from "./header_fields.ts";

/** The certificate that a client presented in its TLS handshake, where it also proved that it has the key. */
export interface ClientCertificate {
  /** The subject, the most specific part first: `CN=alice,O=Example` (RFC 4514). */
  readonly subject: string;
  /** The issuer, in the same format. */
  readonly issuer: string;
  /** The serial number, in hexadecimal digits. */
  readonly serialNumber: string;
  /**
   * Subject alternative names (RFC 5280 section 4.2.1.6): `dns:a.example`, `email:a@b.example`, `uri:spiffe://a/b`,
   * `ip:192.0.2.1`.
   */
  readonly names: readonly string[];
  /** SHA-256 of the whole certificate, as 64 hexadecimal digits in lower case. */
  readonly fingerprint: string;
  /** Start of its validity. */
  readonly notBefore: Date;
  /** End of its validity. */
  readonly notAfter: Date;
  /**
   * Whether it was issued by one of the authorities in `ca`; `false` where no authorities are configured and only
   * `verify` has decided.
   */
  readonly verified: boolean;
  /** The certificate itself, in DER. */
  readonly der: Uint8Array<ArrayBuffer>;
}

/** Every spelling of the two fields: servers behind CGI-like interfaces read an underscore as a dash. */
const FIELDS = ["client-cert", "client_cert"].flatMap((name) => [
  name,
  `${name}-chain`,
  `${name}_chain`,
]);

/**
 * Passes the client's certificate to a server in `Client-Cert` (RFC 9440); the field is absent if there is no
 * certificate. Fields with these names that the client sent are always removed, `Client-Cert-Chain` too.
 */
export function setClientCert(headers: HeaderFields, certificate: ClientCertificate | null): void {
  for (const name of FIELDS) headers.delete(name);
  if (certificate !== null) headers.list.push("client-cert", `:${certificate.der.toBase64()}:`);
}
