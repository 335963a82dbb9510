/** Checks the certificates of a configuration, and warns before those of listeners expire. */

import type { KeyObject, X509Certificate } from "node:crypto";
import type { ConfigProblem } from "../config/config_error.ts";
import { formatListen, type ResolvedListen } from "../config/listen_options.ts";
import type { ResolvedCertificate } from "../config/listen_tls.ts";
import type { ResolvedPool } from "../config/pool_options.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import {
  certificatesOf,
  dnsNames,
  isPath,
  privateKeyOf,
  readCertificate,
  readPemFile,
  tryCertificate,
} from "../engine/certificate.ts";
import type { UpstreamTlsOptions } from "../filter/resolve_peer.ts";
import type { ProxyParts } from "./serve_options.ts";

/** A certificate and its key, as far as they could be read. */
interface Pair {
  /** Path in the configuration, such as `listen[0].tls`. */
  readonly path: string;
  readonly cert: Pem<X509Certificate> | null;
  readonly key: Pem<KeyObject> | null;
  /** Names for which the certificate is used; `null` for the names in it. */
  readonly names: readonly string[] | null;
  /** Whether the pair is for a listener, so that the runtime must accept it. */
  readonly listens: boolean;
}

/** A PEM text and its content. */
interface Pem<Content> {
  readonly text: string;
  readonly content: Content;
}

/** One object of TLS options, and the mistakes in it. */
interface Place {
  readonly pair: Pair | null;
  readonly problems: ConfigProblem[];
}

/**
 * Reads every certificate and key of a configuration, also from files, and lists the mistakes: missing or unreadable
 * files, invalid PEM, and keys that belong to another certificate.
 */
export function findCertificateProblems(config: ResolvedConfig): ConfigProblem[] {
  const places = readPlaces(config);
  const pairs = places.flatMap(({ pair }) => pair ?? []);
  return places.flatMap(({ pair, problems }) =>
    pair === null ? problems : [...problems, ...misfits(pair, pairs)]
  );
}

/**
 * Describes every certificate that has a key: its names, and when it expires.
 *
 * @param now in milliseconds since 1970
 */
export function describeCertificates(config: ResolvedConfig, now: number): string[] {
  return readPlaces(config).flatMap(({ pair }) => {
    if (pair === null || pair.cert === null) return [];
    const { cert: { content: certificate }, path, names } = pair;
    const { validFromDate, validToDate } = certificate;
    const own = dnsNames(certificate);
    const whose = names ?? (own.length === 0 ? [certificate.subject] : own);
    const state = validToDate.getTime() <= now
      ? "ended"
      : validFromDate.getTime() > now
      ? `is not good before ${minuteOf(validFromDate)}, ends`
      : "ends";
    return `${path}: certificate of ${whose.join(" ")} ${state} ${minuteOf(validToDate)}`;
  });
}

function minuteOf(date: Date): string {
  return `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

function readPlaces({ listen, pools, limiter, admin }: ResolvedConfig): Place[] {
  return [
    ...listen.flatMap(({ tls }, index) => {
      const path = `listen${listen.length === 1 ? "" : `[${index}]`}.tls`;
      const own = (tls?.certificates ?? []).map((certificate) =>
        readPlace(
          certificate.path === "" ? path : `${path}.${certificate.path}`,
          certificate,
          certificate.names,
        )
      );
      return [...own, readAuthorities(`${path}.clientCertificates`, tls?.clientCertificates?.ca ?? [])];
    }),
    ...(admin === null || admin.tls === null ? [] : [readPlace("admin.tls", admin.tls, null)]),
    ...[...poolsTls(pools), ...storeTls(limiter)].map(({ path, tls }) => readPlace(path, tls)),
  ];
}

type TlsPart = Pick<UpstreamTlsOptions, "caCerts" | "cert" | "key">;

/** TLS options of pools, and of servers where they differ from those of the pool. */
function poolsTls(pools: ResolvedConfig["pools"]): { path: string; tls: TlsPart }[] {
  const alone = pools.size === 1 && pools.has("default");
  return Array.from(pools.values()).flatMap((pool) =>
    tlsOf(pool, alone ? "upstreams" : `upstreams.${pool.name}`)
  );
}

function tlsOf({ way: { tls: own }, servers }: ResolvedPool, path: string): { path: string; tls: TlsPart }[] {
  const pool = typeof own === "object" ? own : {};
  const found = [{ path: `${path}.tls`, tls: pool as TlsPart }];
  servers.forEach(({ peer: { tls } }, index) => {
    if (tls === null) return;
    const { caCerts, cert, key } = tls;
    const sameCas = caCerts.every((text) => pool.caCerts?.includes(text));
    const sameCert = cert === pool.cert && key === pool.key;
    if (sameCas && sameCert) return;
    found.push({
      path: `${path}.servers[${index}].tls`,
      tls: {
        ...(sameCas ? {} : { caCerts }),
        ...(sameCert || cert === undefined || key === undefined ? {} : { cert, key }),
      },
    });
  });
  return found;
}

/** TLS options of the store that all policies share. */
function storeTls(limiter: ResolvedConfig["limiter"]): { path: string; tls: TlsPart }[] {
  const store = limiter[0]?.store ?? null;
  if (store === null) return [];
  return [{ path: `limiter${limiter.length === 1 ? "" : "[0]"}.store.tls`, tls: store.tls }];
}

function readAuthorities(path: string, ca: readonly string[]): Place {
  const problems: ConfigProblem[] = [];
  ca.forEach((text, index) => read(`${path}.ca[${index}]`, text, problems, certificateOf));
  return { pair: null, problems };
}

/** @param names for which a listener uses the certificate; `null` for the names in it; left out for a client certificate */
function readPlace(
  path: string,
  { caCerts = [], cert, key }: TlsPart,
  names?: readonly string[] | null,
): Place {
  const problems: ConfigProblem[] = [];
  caCerts.forEach((text, index) => read(`${path}.caCerts[${index}]`, text, problems, certificateOf));
  const pair = cert === undefined || key === undefined ? null : {
    path,
    cert: read(`${path}.cert`, cert, problems, certificateOf),
    key: read(`${path}.key`, key, problems, privateKeyOf),
    listens: names !== undefined,
    names: names ?? null,
  };
  return { pair, problems };
}

/** Reads a PEM text, or the file at that path. Adds mistakes to the problems. */
function read<Content>(
  path: string,
  source: string,
  problems: ConfigProblem[],
  parse: (text: string) => Content,
): Pem<Content> | null {
  let text = source;
  const file = isPath(source) ? ` ${JSON.stringify(source)}` : "";
  try {
    if (file !== "") text = readPemFile(source);
  } catch (error) {
    problems.push({ path, message: `names${file}, which cannot be read: ${(error as Error).message}` });
    return null;
  }
  try {
    return { text, content: parse(text) };
  } catch (error) {
    const where = file === "" ? "" : `names${file}, which `;
    problems.push({ path, message: `${where}${(error as Error).message}` });
    return null;
  }
}

/** The first certificate of a text; throws if any certificate in it is invalid. */
function certificateOf(text: string): X509Certificate {
  return certificatesOf(text)[0]!;
}

function misfits({ path, cert, key, listens }: Pair, pairs: readonly Pair[]): ConfigProblem[] {
  if (cert === null || key === null) return [];
  if (!cert.content.checkPrivateKey(key.content)) {
    const owner = pairs.find((other) => other.cert?.content.checkPrivateKey(key.content));
    const whose = owner === undefined ? "" : `, but that of ${owner.path}.cert`;
    return [{ path: `${path}.key`, message: `is not the key of ${path}.cert${whose}` }];
  }
  if (!listens) return [];
  try {
    tryCertificate({ cert: cert.text, key: key.text });
  } catch (error) {
    // This says nothing about the pair: the test address cannot be listened at on this machine.
    if (error instanceof Deno.errors.AddrNotAvailable) return [];
    return [{ path, message: `cannot be used: ${error instanceof Error ? error.message : error}` }];
  }
  return [];
}

// Expiry of the certificates of listeners, with warnings before it.

/** When a certificate expires. */
export interface CertificateEnd {
  /** Address of the listener, as configured. */
  readonly listener: string;
  /** Path of the certificate in the TLS options: `cert`, or `certificates[0]`. */
  readonly certificate: string;
  /** Names for which the certificate is used. */
  readonly names: readonly string[];
  /** In milliseconds since 1970. */
  readonly notAfter: number;
}

/** The address and the certificates of a listener. */
type CertifiedListen = Pick<ResolvedListen, "hostname" | "port" | "unix"> & {
  readonly tls?: { readonly certificates: readonly ResolvedCertificate[] };
};

/** The last warning about a certificate. */
interface Warning {
  readonly notAfter: number;
  readonly withinDays: number;
}

const DAY_MS = 86_400_000;
/** A warning is logged when so many days are left; after expiry, one each day. */
const WARN_DAYS = [0, 1, 7, 30];
/** How old the dates in the metrics may be, in milliseconds. */
const MAX_AGE_MS = 10_000;

/** Reads certificates once a day, and for metrics. Does not include certificates from a function of the configuration. */
export class CertificateExpiry implements Disposable {
  readonly #parts: Pick<ProxyParts, "clock" | "observer">;
  #listen: readonly CertifiedListen[] = [];
  readonly #warnings = new Map<string, Warning>();
  #ends: ReadonlyMap<string, CertificateEnd> = new Map();
  #readAt = -Infinity;
  #timer: Disposable | null = null;

  constructor(parts: Pick<ProxyParts, "clock" | "observer">) {
    this.#parts = parts;
  }

  /** The certificates of the running configuration. */
  get ends(): CertificateEnd[] {
    if (this.#parts.clock.now() - this.#readAt >= MAX_AGE_MS) this.#read();
    return [...this.#ends.values()];
  }

  /**
   * Warns about certificates that expire soon, now and once a day.
   *
   * @param listen the listeners of the running configuration
   */
  check(listen: readonly CertifiedListen[] = this.#listen): void {
    this.#listen = listen;
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#parts.clock.setTimer(() => this.check(), DAY_MS);
    this.#read();
    for (const [key, end] of this.#ends) this.#warn(key, end);
  }

  #warn(key: string, { listener, names, notAfter }: CertificateEnd): void {
    const leftMs = notAfter - this.#parts.clock.wallTime();
    const withinDays = WARN_DAYS.find((days) => leftMs <= days * DAY_MS);
    const last = this.#warnings.get(key);
    if (withinDays === undefined) return void this.#warnings.delete(key);
    if (withinDays > 0 && last?.notAfter === notAfter && last.withinDays <= withinDays) return;
    this.#warnings.set(key, { notAfter, withinDays });
    this.#parts.observer.event({
      kind: "certificate_expiry",
      address: listener,
      names,
      notAfter: new Date(notAfter).toISOString(),
      daysLeft: Math.max(0, Math.floor(leftMs / DAY_MS)),
      ended: leftMs <= 0,
    });
  }

  #read(): void {
    const ends = new Map<string, CertificateEnd>();
    for (const place of this.#listen) {
      for (const source of place.tls?.certificates ?? []) {
        const certificate = source.path === "" ? "cert" : source.path;
        const listener = formatListen(place);
        const key = `${listener} ${certificate}`;
        // If a file cannot be read, or not yet, the former certificate stays in use.
        const end = endOf(source, { listener, certificate }) ?? this.#ends.get(key);
        if (end !== undefined) ends.set(key, end);
      }
    }
    this.#ends = ends;
    this.#readAt = this.#parts.clock.now();
  }

  /** Ends the daily checks. */
  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }
}

function endOf(
  source: ResolvedCertificate,
  place: Pick<CertificateEnd, "listener" | "certificate">,
): CertificateEnd | undefined {
  try {
    const found = certificatesOf(readCertificate(source).cert)[0]!;
    return { ...place, names: source.names ?? dnsNames(found), notAfter: found.validToDate.getTime() };
  } catch {
    return undefined;
  }
}
