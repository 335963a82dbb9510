/** Decides which clients may come in by the certificates that they show. */

import type { TLSSocket } from "node:tls";
import type { ResolvedClientCertificates } from "../../config/listen_tls.ts";
import { messageOf, unexpected } from "../../core/callback.ts";
import type { Clock } from "../../core/clock.ts";
import type { ClientCertificate } from "../../http/client_certificate.ts";
import { certificatesOf, readPem } from "../certificate.ts";
import { type ChainLink, findChainProblem, readLink } from "./certificate_chain.ts";
import { verdictOfRuntime } from "./tcp_handle.ts";

/** What a {@linkcode ClientCertificates} takes. */
interface ClientCertificatesOptions {
  readonly options: ResolvedClientCertificates;
  readonly clock: Clock;
  /** The function `verify` threw. */
  readonly onVerifyError: (error: unknown) => void;
}

/** What became of a client: its certificate, if it has shown one, and why it may not come in. */
export interface ClientVerdict {
  readonly certificate: ClientCertificate | null;
  /** `null` when it may. */
  readonly refusal: string | null;
}

const NONE: ClientVerdict = { certificate: null, refusal: null };
/** How many certificates of a client are looked at. */
const MAX_CHAIN = 10;

/** What clients have to show at a listener. */
export class ClientCertificates {
  readonly #options: ClientCertificatesOptions;
  /** The texts of the authorities. */
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

  /** Looks at the certificate of a client whose handshake is done; never throws. */
  judge(socket: TLSSocket): ClientVerdict | Promise<ClientVerdict> {
    const { options: { verify }, onVerifyError } = this.#options;
    let certificate: ClientCertificate;
    try {
      const chain = chainOf(socket);
      if (chain.length === 0) {
        return this.required ? { certificate: null, refusal: "it has shown no certificate" } : NONE;
      }
      const links = chain.map(readLink);
      const refusal = this.#problemOf(socket, links);
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

  #problemOf(socket: TLSSocket, links: readonly ChainLink[]): string | null {
    if (this.ca.length === 0) return null;
    // In a full handshake the runtime decides; of a session that is resumed it has no opinion.
    const verdict = socket.isSessionReused() ? null : verdictOfRuntime(socket);
    if (verdict === "") return null;
    const problem = findChainProblem(links, this.#authorities, this.#options.clock.wallTime());
    return problem ?? (verdict === null ? null : `the certificate is not trusted (${verdict})`);
  }
}

/**
 * Reads the authorities, in files as well.
 *
 * @throws {Error} when a file cannot be read
 */
export function readAuthorities({ ca }: ResolvedClientCertificates): readonly string[] {
  return ca.map((source) => readPem(source, "certificate"));
}

/** @throws {TypeError} when `verify` gives something else */
function verdict(certificate: ClientCertificate, result: unknown): ClientVerdict {
  if (result === true) return { certificate, refusal: null };
  if (result === false) return { certificate, refusal: "verify says no" };
  if (typeof result === "string" && result !== "") return { certificate, refusal: result };
  throw unexpected("true, false or a reason", result);
}

/** A certificate as `node:tls` gives it; one that has signed itself leads to itself. */
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
