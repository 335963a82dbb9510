/** Finds mistakes in certificates and keys before the proxy runs into them. */

import type { KeyObject, X509Certificate } from "node:crypto";
import type { ConfigProblem } from "../config/config_error.ts";
import type { UpstreamTlsOptions } from "../filter/resolve_peer.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import type { ResolvedPool } from "../config/pool_options.ts";
import {
  certificatesOf,
  dnsNames,
  isPath,
  privateKeyOf,
  readPemFile,
  tryCertificate,
} from "../engine/certificate.ts";

/** A certificate and its key, as far as they could be read. */
interface Pair {
  /** Path in the configuration: `listen[0].tls`. */
  readonly path: string;
  readonly cert: Pem<X509Certificate> | null;
  readonly key: Pem<KeyObject> | null;
  /** Names for which it is shown; `null` for those in it. */
  readonly names: readonly string[] | null;
  /** Whether the runtime has to be able to listen with the two. */
  readonly listens: boolean;
}

/** A PEM text and its content. */
interface Pem<Content> {
  readonly text: string;
  readonly content: Content;
}

/** One place with TLS options, and the mistakes in it. */
interface Place {
  readonly pair: Pair | null;
  readonly problems: ConfigProblem[];
}

/**
 * Reads every certificate and key of a configuration, in files as well, and lists the mistakes: what is missing, what
 * cannot be read, and keys of other certificates.
 */
export function findCertificateProblems(config: ResolvedConfig): ConfigProblem[] {
  const places = readPlaces(config);
  const pairs = places.flatMap(({ pair }) => pair ?? []);
  return places.flatMap(({ pair, problems }) =>
    pair === null ? problems : [...problems, ...misfits(pair, pairs)]
  );
}

/**
 * Says of every certificate of a configuration that has a key for which names it is, and until when.
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

/** TLS of pools, and of servers that have their own, each once. */
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

/** TLS of the store that all policies share. */
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

/** @param names for what a listener shows it, `null` for those in it; none where it is shown to servers */
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

/** Reads a text, or the file that it names; adds what is wrong to the problems. */
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

/** The first of the certificates in a text, all of which have to be good. */
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
    // Says nothing of the pair: nobody can listen here.
    if (error instanceof Deno.errors.AddrNotAvailable) return [];
    return [{ path, message: `cannot be used: ${error instanceof Error ? error.message : error}` }];
  }
  return [];
}
