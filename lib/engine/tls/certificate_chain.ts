/** Finds out whether a certificate leads to an authority that is trusted (RFC 5280 section 6). */

import { X509Certificate } from "node:crypto";
import { type CertificateContent, readCertificateContent } from "./read_certificate.ts";

/** A certificate that was read. */
export interface ChainLink {
  readonly content: CertificateContent;
  readonly certificate: X509Certificate;
}

/** How many authorities may stand between a client and one that is trusted. */
const MAX_BETWEEN = 6;

/** The purposes clientAuth and anyExtendedKeyUsage (RFC 5280 section 4.2.1.12). */
const FOR_CLIENTS = ["2b06010505070302", "551d2500"];

/**
 * Reads a certificate.
 *
 * @throws {Error} when it is none
 */
export function readLink(der: Uint8Array): ChainLink {
  return { content: readCertificateContent(der), certificate: new X509Certificate(der) };
}

/**
 * Why a client is not to be believed who it says it is; `null` when it is.
 *
 * The runtime looks at certificates in a full handshake alone: a session that is resumed brings along the one that it began
 * with, trusted or not, whichever listener of the process that was at (Deno 2.9.6). Certificates with constraints of names are
 * refused, as with every extension that would have to be understood and is not.
 *
 * @param chain that of the client, and what it has sent along
 * @param now in milliseconds since 1970
 */
export function findChainProblem(
  [client, ...sent]: readonly ChainLink[],
  authorities: readonly ChainLink[],
  now: number,
): string | null {
  if (client === undefined) return "there is no certificate";
  const own = dateProblem(client, now);
  if (own !== null) return `the certificate ${own}`;
  if (!isForClients(client)) return "the certificate is not for clients";
  if (client.content.hasUnknown) return "the certificate has an extension that is not understood";
  let last = client;
  const left = new Set(sent);
  for (let between = 0; between <= MAX_BETWEEN; between++) {
    if (authorities.some((authority) => hasIssued(authority, last))) return null;
    const next = [...left].find((link) => mayIssue(link, between, now) && hasIssued(link, last));
    if (next === undefined) break;
    left.delete(next);
    last = next;
  }
  return `no authority that is trusted has issued the certificate, but ${
    last.content.issuer || "one without a name"
  }`;
}

function dateProblem({ content: { notBefore, notAfter } }: ChainLink, now: number): string | null {
  if (now > notAfter) return `has ended on ${new Date(notAfter).toISOString().slice(0, 10)}`;
  return now < notBefore ? `is not good before ${new Date(notBefore).toISOString().slice(0, 10)}` : null;
}

function isForClients({ content: { purposes } }: ChainLink): boolean {
  return purposes === null || purposes.some((purpose) => FOR_CLIENTS.includes(purpose));
}

function mayIssue(link: ChainLink, between: number, now: number): boolean {
  const { isAuthority, pathLength, signsCertificates, hasUnknown } = link.content;
  return isAuthority && signsCertificates && pathLength >= between && !hasUnknown && isForClients(link) &&
    dateProblem(link, now) === null;
}

function hasIssued(issuer: ChainLink, link: ChainLink): boolean {
  if (issuer.content.subjectId !== link.content.issuerId) return false;
  try {
    return link.certificate.verify(issuer.certificate.publicKey);
  } catch {
    // A kind of key that the runtime does not know.
    return false;
  }
}
