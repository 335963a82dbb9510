/** TLS of a listener, as an operator writes it, and what the proxy makes of it. */

import type { ClientCertificate } from "../http/client_certificate.ts";

/** A certificate, and the names of the server that it is shown for. */
export interface CertificateOptions {
  /**
   * Names that clients ask for (SNI, RFC 6066 section 3); `"*.example.com"` is every name with one label in place of the
   * star. A name that is written out goes before one with a star. @default {the DNS names in the certificate}
   */
  names?: readonly string[];
  /** PEM text of the certificate, those of its authorities behind it; or the path of a file with it, which is watched. */
  cert: string;
  /** PEM text of the key of `cert`, or the path of a file with it, which is watched. */
  key: string;
}

/**
 * Finds the certificate of a name, in lower case; `null` when there is none. One that is found is kept for five minutes, and longer
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

/** TLS of a listener. */
export interface ListenTlsOptions {
  /** The same as in {@linkcode CertificateOptions}: the certificate for clients that ask for no other. */
  cert?: string;
  /** The key of `cert`. */
  key?: string;
  /**
   * Certificates by the name that a client asks for, or a function that finds them when they are asked for. Without `cert`
   * the first of a list is the one for clients that ask for no other.
   * The function gets the name in lower case, and gives `null` when there is none. What it finds is kept for five minutes, and longer
   * while it fails; that there is none for ten seconds. A name is looked up once however many clients ask for it.
   *
   * @default {`cert` for everybody}
   */
  certificates?:
    | readonly CertificateOptions[]
    | ((
      name: string,
    ) => Omit<CertificateOptions, "names"> | null | Promise<Omit<CertificateOptions, "names"> | null>);
  /**
   * What becomes of clients that ask for a name without a certificate, or for none: they get the `"default"`, or their
   * connection is closed (`"refuse"`). @default {"default"}
   */
  unknownNames?: "default" | "refuse";
  /** The least version of TLS. @default {"1.2"} */
  minVersion?: "1.2" | "1.3";
  /** Whether clients may choose HTTP/2, by ALPN. @default {true} */
  http2?: boolean;
  /** Certificates that clients have to show, or may. @default {they are not asked} */
  clientCertificates?: ClientCertificateOptions;
}

/** What becomes of clients without a certificate. */
export const CLIENT_CERTIFICATE_MODES: readonly ClientCertificateMode[] = ["require", "request"];
/** One of them. */
type ClientCertificateMode = NonNullable<ClientCertificateOptions["mode"]>;

/**
 * Judges a certificate: `true` lets the client in, `false` or a reason for the log does not. It is asked for each connection, while
 * the client waits as for its handshake, and what it throws lets nobody in.
 */
type VerifyClientCertificate = NonNullable<ClientCertificateOptions["verify"]>;

/**
 * Which clients may come in by their certificates. The connection of any other one is closed before anything is read of it, with
 * the reason in the log. At least one of `ca` and `verify` is needed.
 */
export interface ClientCertificateOptions {
  /** PEM texts of authorities whose certificates count, or paths of files with them, which are watched; no others do. @default {[]} */
  ca?: string | readonly string[];
  /** Whether clients without a certificate are refused (`"require"`), or let in (`"request"`); one that is shown has to be good. @default {"require"} */
  mode?: "require" | "request";
  /**
   * Judges a certificate that `ca`, where there is one, has found to be good: whether it has been revoked, for one, which the
   * runtime does not find out.
   * `true` lets the client in, `false` or a reason for the log does not. It is asked for each connection, while the client waits as
   * for its handshake, and what it throws lets nobody in.
   *
   * @default {all are good}
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
