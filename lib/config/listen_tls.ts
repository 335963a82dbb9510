/** TLS options of a listener, as configured and resolved. */

import type { ClientCertificate } from "../http/client_certificate.ts";

/** A certificate, and the server names for which it is used. */
export interface CertificateOptions {
  /**
   * Server names of clients (SNI, RFC 6066 section 3); `"*.example.com"` is every name with one label in place of the
   * star. An exact name has priority over one with a star. @default {the DNS names in the certificate}
   */
  names?: readonly string[];
  /**
   * PEM text of the certificate, followed by those of its authorities; or the path of a file with it, which is watched.
   */
  cert: string;
  /** PEM text of the private key of `cert`, or the path of a file with it, which is watched. */
  key: string;
}

/**
 * Finds the certificate of a name, in lower case; `null` if there is none. A certificate is kept for five minutes, and
 * longer while the function fails; `null` is kept for ten seconds. Clients that need the same name wait for one call.
 */
export type CertificateLookup = Exclude<
  NonNullable<ListenTlsOptions["certificates"]>,
  readonly CertificateOptions[]
>;

/** Versions of TLS. */
export const TLS_VERSIONS: readonly TlsVersion[] = ["1.2", "1.3"];
/** A TLS version; versions before 1.2 are deprecated (RFC 8996), and the runtime does not support them. */
type TlsVersion = NonNullable<ListenTlsOptions["minVersion"]>;

/** Values of `unknownNames`. */
export const UNKNOWN_NAMES: readonly UnknownNames[] = ["default", "refuse"];
/** Action for clients with an unknown server name, or without one. */
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
  /**
   * Certificate as in {@linkcode CertificateOptions}, for clients whose server name has no other certificate.
   *
   * @default {none}
   */
  cert?: string;
  /** Private key of `cert`. @default {none} */
  key?: string;
  /**
   * Certificates by the server name of the client (SNI), or a function that finds them when needed. Without `cert`, the
   * first of a list is for clients without a matching name. The function receives the name in lower case, and returns
   * `null` if there is no certificate. A certificate is kept for five minutes, and longer while the function fails;
   * `null` for ten seconds. Clients that need the same name wait for one call.
   *
   * @default {`cert` for all clients}
   */
  certificates?:
    | readonly CertificateOptions[]
    | ((
      name: string,
    ) => Omit<CertificateOptions, "names"> | null | Promise<Omit<CertificateOptions, "names"> | null>);
  /**
   * Action for clients with an unknown server name, or without one: they get the `"default"` certificate, or their
   * connection is closed (`"refuse"`). @default {"default"}
   */
  unknownNames?: "default" | "refuse";
  /** Minimum TLS version. @default {"1.2"} */
  minVersion?: "1.2" | "1.3";
  /** Whether clients may choose HTTP/2, by ALPN. @default {true} */
  http2?: boolean;
  /** Certificates that clients must send, or may send. @default {none} */
  clientCertificates?: ClientCertificateOptions;
}

/** Values of `mode`. */
export const CLIENT_CERTIFICATE_MODES: readonly ClientCertificateMode[] = ["require", "request"];
/** Action for clients without a certificate. */
type ClientCertificateMode = NonNullable<ClientCertificateOptions["mode"]>;

/**
 * Checks a certificate: `true` accepts the client; `false`, or a reason for the log, refuses it. It runs for each
 * connection, within the time of the handshake; if it throws, the client is refused.
 */
type VerifyClientCertificate = NonNullable<ClientCertificateOptions["verify"]>;

/**
 * Which clients are accepted by their certificates. The connection of any other client is closed before any request is
 * read, with the reason in the log. At least one of `ca` and `verify` is needed.
 *
 * @example Clients must present a certificate of a company's internal authority
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
   * Whether clients without a certificate are refused (`"require"`) or accepted (`"request"`). A certificate that a
   * client sends must be valid.
   *
   * @default {"require"}
   */
  mode?: "require" | "request";
  /**
   * Checks a certificate that `ca` has accepted, for example its revocation, which the runtime does not check. `true`
   * accepts the client; `false`, or a reason for the log, refuses it. It runs for each connection, within the time of
   * the handshake; if it throws, the client is refused.
   *
   * @default {accepts all}
   */
  verify?: (
    certificate: ClientCertificate,
  ) => boolean | string | Promise<boolean | string>;
}

/** A certificate of a listener with every default filled in. */
export interface ResolvedCertificate {
  /** Path in the TLS options: `""` for the top-level `cert`, or `certificates[0]`. */
  readonly path: string;
  /** `null` for the names in the certificate. */
  readonly names: readonly string[] | null;
  readonly cert: string;
  readonly key: string;
}

/** TLS of a listener with every default filled in. */
export interface ResolvedListenTls {
  /** The first is for clients without a matching name; empty if a function finds all of them. */
  readonly certificates: readonly ResolvedCertificate[];
  readonly lookup: CertificateLookup | null;
  readonly refusesUnknown: boolean;
  readonly minVersion: TlsVersion;
  readonly http2: boolean;
  /** `null` if no certificate is requested. */
  readonly clientCertificates: ResolvedClientCertificates | null;
}

/** Client certificates with every default filled in. */
export interface ResolvedClientCertificates {
  readonly ca: readonly string[];
  readonly mode: ClientCertificateMode;
  readonly verify: VerifyClientCertificate | null;
}

/** Options that the server of the runtime does not support. */
export const HTTP1_TLS_ONLY: readonly (keyof ListenTlsOptions)[] = [
  "certificates",
  "unknownNames",
  "minVersion",
  "http2",
  "clientCertificates",
];

/** Fills in the defaults of validated options. */
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

/** Whether the server of the runtime supports these options. */
export function denoCanServe(
  { certificates, lookup, refusesUnknown, minVersion, http2, clientCertificates }: ResolvedListenTls,
): boolean {
  return clientCertificates === null && certificates.length === 1 && lookup === null && !refusesUnknown &&
    minVersion === "1.2" && http2;
}

/** Whether a text is a valid server name for certificates, in lower case. */
export function isCertificateName(text: string): boolean {
  return text.length <= 253 && /^(?:\*\.)?(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}$/.test(text);
}
