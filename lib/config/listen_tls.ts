/** TLS of a listener, as an operator writes it, and what the proxy makes of it. */

import type { ClientCertificate } from "../http/client_certificate.ts";

/** A certificate, and the names of the server that it is shown for. */
export interface CertificateOptions {
  /**
   * Server names of clients (SNI, RFC 6066 section 3); `"*.example.com"` is every name with one label in place of
   * the star. An exact name wins over one with a star. @default {the DNS names in the certificate}
   */
  names?: readonly string[];
  /** PEM text of the certificate, those of its authorities behind it; or the path of a file with it, which is watched. */
  cert: string;
  /** PEM text of the key of `cert`, or the path of a file with it, which is watched. */
  key: string;
}

/**
 * Finds the certificate of a name, in lower case; `null` when there is none. One that is found is kept for five
 * minutes, and longer
 * while the function fails; that there is none for ten seconds. A name is looked up once however many clients ask for it.
 */
export type CertificateLookup = Exclude<
  NonNullable<ListenTlsOptions["certificates"]>,
  readonly CertificateOptions[]
>;

/** Versions of TLS. */
export const TLS_VERSIONS: readonly TlsVersion[] = ["1.2", "1.3"];
/** A version of TLS; those before 1.2 are broken (RFC 8996), and the runtime does not speak them. */
type TlsVersion = NonNullable<ListenTlsOptions["minVersion"]>;

/** What becomes of clients that ask for a name without a certificate, or for none. */
export const UNKNOWN_NAMES: readonly UnknownNames[] = ["default", "refuse"];
/** One of them. */
type UnknownNames = NonNullable<ListenTlsOptions["unknownNames"]>;

/**
 * TLS of a listener.
 *
 * @example A certificate for each site
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   listen: {
 *     port: 443,
 *     tls: {
 *       certificates: [
 *         { cert: "shop.pem", key: "shop.key" },
 *         { names: ["*.api.example"], cert: "api.pem", key: "api.key" },
 *       ],
 *     },
 *   },
 * });
 * ```
 */
export interface ListenTlsOptions {
  /** The same as in {@linkcode CertificateOptions}: the certificate for clients that ask for no other. @default {none} */
  cert?: string;
  /** The key of `cert`. @default {none} */
  key?: string;
  /**
   * Certificates by the server name of the client (SNI), or a function that finds them when needed. Without `cert`,
   * the first of a list is for clients without a matching name. The function gets the name in lower case, and
   * returns `null` when there is no certificate. A certificate is kept for five minutes, and longer while the
   * function fails; `null` for ten seconds. Clients that need the same name wait for one call.
   *
   * @default {`cert` for everybody}
   */
  certificates?:
    | readonly CertificateOptions[]
    | ((
      name: string,
    ) => Omit<CertificateOptions, "names"> | null | Promise<Omit<CertificateOptions, "names"> | null>);
  /**
   * What clients get that send an unknown server name, or none: the `"default"` certificate, or a closed connection
   * (`"refuse"`). @default {"default"}
   */
  unknownNames?: "default" | "refuse";
  /** The least version of TLS. @default {"1.2"} */
  minVersion?: "1.2" | "1.3";
  /** Whether clients may choose HTTP/2, by ALPN. @default {true} */
  http2?: boolean;
  /** Certificates that clients must send, or may send. @default {none} */
  clientCertificates?: ClientCertificateOptions;
}

/** What becomes of clients without a certificate. */
export const CLIENT_CERTIFICATE_MODES: readonly ClientCertificateMode[] = ["require", "request"];
/** One of them. */
type ClientCertificateMode = NonNullable<ClientCertificateOptions["mode"]>;

/**
 * Checks a certificate: `true` accepts the client; `false`, or a reason for the log, refuses it. It runs for each
 * connection, within the time of the handshake; when it throws, the client is refused.
 */
type VerifyClientCertificate = NonNullable<ClientCertificateOptions["verify"]>;

/**
 * Which clients may come in by their certificates. The connection of any other one is closed before anything is read
 * of it, with
 * the reason in the log. At least one of `ca` and `verify` is needed.
 *
 * @example Clients must show a certificate of a company's own authority
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   listen: {
 *     port: 443,
 *     tls: { cert: "cert.pem", key: "key.pem", clientCertificates: { ca: "clients-ca.pem" } },
 *   },
 *   forwarded: { clientCert: true },
 * });
 * ```
 */
export interface ClientCertificateOptions {
  /** PEM texts of the trusted authorities, or paths of files with them, which are watched. @default {[]} */
  ca?: string | readonly string[];
  /**
   * Whether clients without a certificate are refused (`"require"`) or accepted (`"request"`); a certificate that a
   * client sends must be valid.
   *
   * @default {"require"}
   */
  mode?: "require" | "request";
  /**
   * Checks a certificate that `ca` has accepted, for example whether it was revoked, which the runtime does not check.
   * `true` accepts the client; `false`, or a reason for the log, refuses it. It runs for each connection, within the
   * time of the handshake; when it throws, the client is refused.
   *
   * @default {accepts all}
   */
  verify?: (
    certificate: ClientCertificate,
  ) => boolean | string | Promise<boolean | string>;
}

/** A certificate of a listener, complete. */
export interface ResolvedCertificate {
  /** Where it stands in the options: `""` beside the others, or `certificates[0]`. */
  readonly path: string;
  /** `null` for those in the certificate. */
  readonly names: readonly string[] | null;
  readonly cert: string;
  readonly key: string;
}

/** TLS of a listener, complete. */
export interface ResolvedListenTls {
  /** The first is for clients that ask for no other; none where all are looked up. */
  readonly certificates: readonly ResolvedCertificate[];
  readonly lookup: CertificateLookup | null;
  readonly refusesUnknown: boolean;
  readonly minVersion: TlsVersion;
  readonly http2: boolean;
  /** `null` where clients are not asked. */
  readonly clientCertificates: ResolvedClientCertificates | null;
}

/** What clients have to show, complete. */
export interface ResolvedClientCertificates {
  readonly ca: readonly string[];
  readonly mode: ClientCertificateMode;
  readonly verify: VerifyClientCertificate | null;
}

/** Options that the server of the runtime does not have. */
export const HTTP1_TLS_ONLY: readonly (keyof ListenTlsOptions)[] = [
  "certificates",
  "unknownNames",
  "minVersion",
  "http2",
  "clientCertificates",
];

/** Completes the options, which are known to be good. */
export function resolveListenTls(options: ListenTlsOptions): ResolvedListenTls {
  const {
    cert,
    key,
    certificates,
    unknownNames = "default",
    minVersion = "1.2",
    http2 = true,
    clientCertificates,
  } = options;
  const own = cert === undefined || key === undefined ? [] : [{ path: "", names: null, cert, key }];
  const listed = typeof certificates === "object" ? certificates : [];
  return Object.freeze({
    certificates: Object.freeze([
      ...own,
      ...listed.map(({ names, cert, key }, index) => ({
        path: `certificates[${index}]`,
        names: names === undefined ? null : names.map((name) => name.toLowerCase()),
        cert,
        key,
      })),
    ].map((certificate) => Object.freeze(certificate))),
    lookup: typeof certificates === "function" ? certificates : null,
    refusesUnknown: unknownNames === "refuse",
    minVersion,
    http2,
    clientCertificates: clientCertificates === undefined
      ? null
      : resolveClientCertificates(clientCertificates),
  });
}

function resolveClientCertificates(options: ClientCertificateOptions): ResolvedClientCertificates {
  const { ca = [], mode = "require", verify = null } = options;
  return Object.freeze({ ca: Object.freeze(typeof ca === "string" ? [ca] : [...ca]), mode, verify });
}

/** Whether the server of the runtime can do what is asked. */
export function denoCanServe(
  { certificates, lookup, refusesUnknown, minVersion, http2, clientCertificates }: ResolvedListenTls,
): boolean {
  return clientCertificates === null && certificates.length === 1 && lookup === null && !refusesUnknown &&
    minVersion === "1.2" && http2;
}

/** Whether a text is a name that certificates are chosen by, in lower case. */
export function isCertificateName(text: string): boolean {
  return text.length <= 253 && /^(?:\*\.)?(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}$/.test(text);
}
