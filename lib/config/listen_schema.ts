/** The schema of listen addresses. */

import {
  byteSize,
  choose,
  DURATION_ABOVE_0,
  findProblems,
  FLAG,
  FUNCTION,
  isRecord,
  isWhole,
  list,
  must,
  object,
  pemOrPath,
  type Report,
  required,
  type Rule,
  type Rules,
  text,
  type Unchecked,
  whole,
  wholeOrInfinity,
  word,
} from "../core/options.ts";
import { NETWORKS } from "../http/trusted_proxies.ts";
import type { Underscores } from "../http/proxy_fields.ts";
import type { ClientLimitOptions, ClientTimeoutOptions } from "./listen_options.ts";
import {
  ENGINE_NAMES,
  formatListen,
  type ListenOptions,
  parseListen,
  parseRedirect,
  type ProxyProtocolOptions,
} from "./listen_options.ts";
import {
  type CertificateOptions,
  CLIENT_CERTIFICATE_MODES,
  type ClientCertificateOptions,
  HTTP1_TLS_ONLY,
  isCertificateName,
  type ListenTlsOptions,
  TLS_VERSIONS,
  UNKNOWN_NAMES,
} from "./listen_tls.ts";

const LISTEN_EXPECTED = '"host:port", "unix:/path" or a port number';

/** A certificate, or a file with it. */
const CERT = pemOrPath("certificate");
const KEY = pemOrPath("private key");

const CERTIFICATE_LIST = list(
  object<CertificateOptions>({
    names: list(
      text('a host name, or one behind "*."', (name) => isCertificateName(name.toLowerCase())),
      "an array of host names",
      "at least one name; without names those in the certificate count",
    ),
    cert: required(CERT),
    key: required(KEY),
  }, 'an object with "cert" and "key"'),
  "an array of { names, cert, key }, or a function",
  "at least one certificate",
);

/** Certificates; no name at more than one of them. */
const CERTIFICATES: Rule = (value, report) => {
  if (typeof value === "function") return;
  CERTIFICATE_LIST(value, report);
  if (!Array.isArray(value)) return;
  const seen = new Map<string, number>();
  value.forEach((certificate, index) => {
    if (!isRecord(certificate) || !Array.isArray(certificate.names)) return;
    for (const name of new Set(certificate.names.filter((name) => typeof name === "string"))) {
      const first = seen.get(name.toLowerCase());
      if (first === undefined) seen.set(name.toLowerCase(), index);
      else report(`names ${JSON.stringify(name)}, which [${first}] does too`, index);
    }
  });
};

const CLIENT_CERTIFICATES = object<ClientCertificateOptions>(
  {
    ca: choose((value) =>
      Array.isArray(value) ? list(CERT, "an array of PEM texts or paths of files") : CERT
    ),
    mode: word(CLIENT_CERTIFICATE_MODES),
    verify: FUNCTION,
  },
  'an object with "ca" or "verify"',
  {
    explain: (name) =>
      name === "crl" ? 'is not read by the runtime: check revocation in "verify"' : undefined,
    check({ ca, verify }, report) {
      if (verify !== undefined || (ca !== undefined && !(Array.isArray(ca) && ca.length === 0))) return;
      report('needs "ca" or "verify": nothing else says whose certificates count');
    },
  },
);

/** Options of other proxies, with the reason why they do not exist here. */
const OTHER_TLS_OPTIONS: Readonly<Record<string, string>> = {
  ciphers: "cannot be chosen: the runtime uses AES-GCM and ChaCha20-Poly1305 with ECDHE",
  maxVersion: "is not an option: clients without TLS 1.3 use 1.2",
  ...Object.fromEntries(
    ["auto", "acme", "email", "letsencrypt", "internal"].map((name) => [
      name,
      'is not an option: lbproxy requests no certificates; "cert" and "key" name files that certbot or lego write',
    ]),
  ),
};

const TLS = object<ListenTlsOptions>(
  {
    cert: CERT,
    key: KEY,
    certificates: CERTIFICATES,
    unknownNames: word(UNKNOWN_NAMES),
    minVersion: word(TLS_VERSIONS),
    http2: FLAG,
    clientCertificates: CLIENT_CERTIFICATES,
  },
  'an object with "cert" and "key" (paths or PEM texts), or "certificates"',
  {
    explain: (name) => Object.hasOwn(OTHER_TLS_OPTIONS, name) ? OTHER_TLS_OPTIONS[name] : undefined,
    check({ certificates, cert, key }, report) {
      if (certificates !== undefined && cert === undefined && key === undefined) return;
      if (cert === undefined) report("is required", "cert");
      if (key === undefined) report("is required", "key");
    },
  },
);

const KIB = 1024;

const LIMIT_RULES: Rules<ClientLimitOptions> = {
  timeouts: object<ClientTimeoutOptions>({
    head: DURATION_ABOVE_0,
    keepAlive: DURATION_ABOVE_0,
    content: DURATION_ABOVE_0,
    write: DURATION_ABOVE_0,
    halfClosed: DURATION_ABOVE_0,
  }, "an object with timeouts"),
  minContentRate: byteSize(0, KIB * KIB),
  maxRequestsPerConnection: wholeOrInfinity(1),
  maxConnections: wholeOrInfinity(1),
  maxConnectionsPerClient: wholeOrInfinity(1),
  maxHeadBytes: byteSize(KIB, KIB * KIB),
  maxFields: whole(1, 10_000),
};

/** Options that the server of the runtime does not support. */
const HTTP1_ONLY = [
  ...Object.keys(LIMIT_RULES) as (keyof ClientLimitOptions)[],
  "proxyProtocol",
  "http2",
] satisfies (keyof ListenOptions)[];

const LISTEN_RULES: Rules<ListenOptions> = {
  hostname: text("an address or a host name", (name) => /^[^\s/@[\]#?*]+$/.test(name)),
  port: whole(0, 65535),
  tls: TLS,
  unix: text("a path that begins with a slash", (path) => path.startsWith("/")),
  redirect: must((value) => parseRedirect(value) !== undefined, '"https" or "https:PORT"'),
  underscores: word(["drop", "refuse", "pass"] satisfies Underscores[]),
  engine: word(ENGINE_NAMES),
  proxyProtocol: object<ProxyProtocolOptions>({ from: required(NETWORKS) }, 'an object with "from"'),
  reusePort: FLAG,
  http2: FLAG,
  ...LIMIT_RULES,
};

/** Names of the options of a listen address. */
export const LISTEN_KEYS: readonly string[] = Object.freeze(Object.keys(LISTEN_RULES));

/** Pairs of options that exclude each other, and the reason. */
const CONTRADICTIONS = [
  ["unix", "hostname", "which a unix socket does not have"],
  ["unix", "port", "which a unix socket does not have"],
  ["unix", "reusePort", "which a unix socket does not have"],
  ["unix", "tls", "which the runtime does not speak on unix sockets"],
  ["tls", "proxyProtocol", "since nothing is read in front of a handshake"],
  ["tls", "http2", 'where "tls.http2" says it'],
  ["redirect", "tls", "since it is clients without TLS that are sent elsewhere"],
  ["redirect", "unix", "since a browser does not come by a unix socket"],
  ["redirect", "underscores", "since nothing is forwarded there"],
] as const;

const PLACE_OPTIONS = object<ListenOptions>(LISTEN_RULES, LISTEN_EXPECTED, {
  explain: (name) =>
    /^(?:clientMax|max)(?:Body|Content)(?:Size|Bytes)?$/i.test(name.replaceAll("_", ""))
      ? "is not a known key; there is a filter for it: filters: [maxBodySize(...)]"
      : undefined,
  otherNames: {
    tls: ["ssl", "https"],
    hostname: ["host", "address", "bind", "ip"],
    maxHeadBytes: ["maxHeaderSize", "maxHeaderBytes"],
  },
  check(place, report) {
    for (const [first, second, reason] of CONTRADICTIONS) {
      if (place[first] === undefined || place[second] === undefined) continue;
      report(`must not be used with "${first}", ${reason}`, second);
    }
    checkEngine(place, report);
  },
});

/** Finds options that the engine does not support. */
function checkEngine(place: Unchecked<ListenOptions>, report: Report): void {
  const { tls, engine } = place;
  if (engine !== "deno") return;
  const message = 'is for the engine "http1" only, and "deno" is the engine here';
  for (const name of HTTP1_ONLY) if (place[name] !== undefined) report(message, name);
  if (!isRecord(tls)) return;
  for (const name of HTTP1_TLS_ONLY) if (tls[name] !== undefined) report(message, "tls", name);
}

const PORT_NUMBER = must((value) => isWhole(value, 0, 65535), "a port number from 0 to 65535");

/** A listen address as text. If only the port is wrong, the message is about the port. */
const PLACE_TEXT = must(
  (value) => typeof value === "string" && parseListen(value) !== undefined,
  (value) => {
    const [, host, port] = (typeof value === "string" ? /^(.*):(\d+)$/.exec(value) : null) ?? [];
    if (host === "" || host === "*") return `${LISTEN_EXPECTED} (${port} alone is every address)`;
    if (host !== undefined && parseListen(`${host}:1`) !== undefined) {
      return '"host:port" with a port from 0 to 65535';
    }
    return typeof value === "string" && /^https:|\b(?:ssl|tls)$/i.test(value)
      ? `${LISTEN_EXPECTED}, or for TLS { port: 443, tls: { cert, key } }`
      : LISTEN_EXPECTED;
  },
);

const PLACE: Rule = choose((value) => {
  if (typeof value === "number") return PORT_NUMBER;
  return isRecord(value) ? PLACE_OPTIONS : PLACE_TEXT;
});

const PLACES = list(PLACE, LISTEN_EXPECTED, "at least one place to listen at");

/** A listen address, or an array of them. */
export const LISTEN: Rule = (value: unknown, report: Report): void => {
  if (!Array.isArray(value)) return PLACE(value, report);
  PLACES(value, report);
  const seen = new Map<string, number>();
  value.forEach((place, index) => {
    // Other problems are reported by their rules; such an address cannot be parsed.
    const resolved = findProblems(PLACE, place).length === 0 ? parseListen(place) : undefined;
    if (resolved === undefined || (resolved.unix === undefined && resolved.port === 0)) return;
    const id = formatListen(resolved);
    const first = seen.get(id);
    if (first === undefined) return void seen.set(id, index);
    report(`is the same address as [${first}]`, index);
  });
};
