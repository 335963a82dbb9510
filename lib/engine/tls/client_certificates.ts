/** Verifies the certificates of clients. */

import { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { ResolvedClientCertificates } from "../../config/listen_tls.ts";
import { messageOf, unexpected } from "../../core/callback.ts";
import type { Clock } from "../../core/clock.ts";
import type { ClientCertificate } from "../../http/client_certificate.ts";
import { certificatesOf, readPem } from "../certificate.ts";
import { type CertificateContent, readCertificateContent } from "./read_certificate.ts";
import { verdictOfRuntime } from "./secured_socket.ts";

/** Options of {@linkcode ClientCertificates}. */
interface ClientCertificatesOptions {
  readonly options: ResolvedClientCertificates;
  readonly clock: Clock;
  /** The function `verify` has thrown. */
  readonly onVerifyError: (error: unknown) => void;
}

/** The result for a client: its certificate, if it sent one, and why it is refused. */
export interface ClientVerdict {
  readonly certificate: ClientCertificate | null;
  /** `null` when the client is accepted. */
  readonly refusal: string | null;
}

const NONE: ClientVerdict = { certificate: null, refusal: null };
/** Most certificates of a client that are read. */
const MAX_CHAIN = 10;

/** The verification of client certificates at a listener. */
export class ClientCertificates {
  readonly #options: ClientCertificatesOptions;
  /** The PEM texts of the authorities. */
  readonly ca: readonly string[];
  readonly #authorities: readonly ChainLink[];

  /** @throws {Error} when an authority cannot be read */
  constructor(options: ClientCertificatesOptions, ca: readonly string[]) {
    this.#options = options;
    this.ca = ca;
    this.#authorities = ca.flatMap((text, index) => {
      try {
        return certificatesOf(text).map(({ raw }) => readLink(new Uint8Array(raw)));
      } catch (error) {
        throw new Error(`tls.clientCertificates.ca[${index}] ${messageOf(error)}`, { cause: error });
      }
    });
  }

  /** Whether a client without a certificate is refused. */
  get required(): boolean {
    return this.#options.options.mode === "require";
  }

  /** Verifies the certificate of a client after the handshake; never throws. */
  judge(socket: TLSSocket): ClientVerdict | Promise<ClientVerdict> {
    const { options: { verify }, onVerifyError } = this.#options;
    let certificate: ClientCertificate;
    try {
      const chain = chainOf(socket);
      if (chain.length === 0) {
        return this.required ? { certificate: null, refusal: "it has shown no certificate" } : NONE;
      }
      const links = chain.map(readLink);
      const refusal = this.#trustProblem(socket, links);
      certificate = describe(links[0]!, chain[0]!, this.ca.length > 0);
      if (refusal !== null) return { certificate, refusal };
    } catch (error) {
      return { certificate: null, refusal: `its certificate cannot be read: ${messageOf(error)}` };
    }
    if (verify === null) return { certificate, refusal: null };
    const failed = (error: unknown): ClientVerdict => {
      onVerifyError(error);
      return { certificate, refusal: "verify has thrown" };
    };
    try {
      const result = verify(certificate);
      if (!(result instanceof Promise)) return verdict(certificate, result);
      return result.then((result) => verdict(certificate, result)).catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  #trustProblem(socket: TLSSocket, links: readonly ChainLink[]): string | null {
    if (this.ca.length === 0) return null;
    // In a full handshake the runtime verifies the certificate; for a resumed session it has no verdict.
    const verdict = socket.isSessionReused() ? null : verdictOfRuntime(socket);
    if (verdict === "") return null;
    const problem = findChainProblem(links, this.#authorities, this.#options.clock.wallTime());
    return problem ?? (verdict === null ? null : `the certificate is not trusted (${verdict})`);
  }
}

/**
 * Reads the authorities, from files too.
 *
 * @throws {Error} when a file cannot be read
 */
export function readAuthorities({ ca }: ResolvedClientCertificates): readonly string[] {
  return ca.map((source) => readPem(source, "certificate"));
}

/** @throws {TypeError} when `verify` returns any other value */
function verdict(certificate: ClientCertificate, result: unknown): ClientVerdict {
  if (result === true) return { certificate, refusal: null };
  if (result === false) return { certificate, refusal: "verify says no" };
  if (typeof result === "string" && result !== "") return { certificate, refusal: result };
  throw unexpected("true, false or a reason", result);
}

/** A certificate as `node:tls` returns it; a self-signed one refers to itself as its issuer. */
interface Sent {
  readonly raw?: Uint8Array;
  readonly issuerCertificate?: Sent;
}

/** The certificates that the client has sent, its own first. */
function chainOf(socket: TLSSocket): Uint8Array<ArrayBuffer>[] {
  const found: Uint8Array<ArrayBuffer>[] = [];
  let certificate: Sent | undefined = socket.getPeerCertificate(true) as Sent;
  while (certificate?.raw !== undefined && found.length < MAX_CHAIN) {
    found.push(new Uint8Array(certificate.raw));
    const issuer: Sent | undefined = certificate.issuerCertificate;
    certificate = issuer === certificate ? undefined : issuer;
  }
  return found;
}

function describe(
  { content, certificate }: ChainLink,
  der: Uint8Array<ArrayBuffer>,
  verified: boolean,
): ClientCertificate {
  const { subject, issuer, serialNumber, names, notBefore, notAfter } = content;
  return Object.freeze({
    subject,
    issuer,
    serialNumber,
    names: Object.freeze([...names]),
    fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    verified,
    der,
  });
}

// Checks whether a certificate was issued by a trusted authority (RFC 5280 section 6).

/** A parsed certificate. */
export interface ChainLink {
  readonly content: CertificateContent;
  readonly certificate: X509Certificate;
}

/** Most intermediate authorities between a client's certificate and a trusted one. */
const MAX_BETWEEN = 6;

/** The purposes clientAuth and anyExtendedKeyUsage (RFC 5280 section 4.2.1.12). */
const FOR_CLIENTS = ["2b06010505070302", "551d2500"];

/**
 * Parses a certificate.
 *
 * @throws {Error} when it is invalid
 */
export function readLink(der: Uint8Array): ChainLink {
  return { content: readCertificateContent(der), certificate: new X509Certificate(der) };
}

/**
 * Why a client certificate is not trusted; `null` when it is.
 *
 * The runtime verifies certificates only in a full handshake: a resumed session has the certificate of its first
 * handshake, trusted or not, with any listener of the process (Deno 2.9.6). Certificates with name constraints are
 * refused, like those with any other unknown critical extension.
 *
 * @param chain the client's certificate, and the others that it has sent
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
    if (next === undefined) {
      const issuer = last.content.issuer || "one without a name";
      return `no authority that is trusted has issued the certificate, but ${issuer}`;
    }
    left.delete(next);
    last = next;
  }
  return `more than ${MAX_BETWEEN} authorities stand between the certificate and one that is trusted`;
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
    // An unknown kind of key.
    return false;
  }
}
