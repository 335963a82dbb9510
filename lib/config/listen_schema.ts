/** The schema of the places to listen at. */

import type { Underscores } from "../http/hop_by_hop.ts";
import * as v from "valibot";
import type { ClientLimitOptions, ClientTimeoutOptions } from "./client_limits.ts";
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
import { networksSchema } from "./schema/forwarded_schema.ts";
import {
  byteSizeSchema,
  isRecord,
  limitSchema,
  mustBe,
  mustBeSecret,
  oneOf,
  optionsObject,
  pathItem,
  positiveDurationSchema,
  unknownKeyMessage,
  wholeNumberSchema,
} from "./schema/schemas.ts";

const LISTEN_EXPECTED = '"host:port", "unix:/path" or a port number';

/** PEM text that begins as it has to, or what can only be the path of a file. */
function pemOrPathSchema(label: string, begins: RegExp): v.GenericSchema {
  return v.custom<string>(
    (value) =>
      typeof value === "string" &&
      (value.includes("-----BEGIN") ? begins.test(value) : /^[^\r\n\0]{1,4096}$/.test(value)),
    mustBeSecret(`the PEM text of a ${label}, or the path of a file with it`),
  );
}

const UNDERSCORES: readonly Underscores[] = ["drop", "refuse", "pass"];

const pemEntries = {
  cert: pemOrPathSchema("certificate", /-----BEGIN (?:TRUSTED )?CERTIFICATE-----/),
  key: pemOrPathSchema("private key", /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/),
};

const namesSchema = v.pipe(
  v.array(
    v.custom<string>(
      (value) => typeof value === "string" && isCertificateName(value.toLowerCase()),
      mustBe('a host name, or one behind "*."'),
    ),
    mustBe("an array of host names"),
  ),
  v.minLength(1, mustBe("at least one name; without names those in the certificate count")),
);

const certificateEntries = {
  names: v.optional(namesSchema),
  ...pemEntries,
} satisfies Record<keyof CertificateOptions, v.GenericSchema>;

const CERTIFICATES = "an array of { names, cert, key }, or a function";

const certificatesSchema = v.pipe(
  v.array(optionsObject(certificateEntries, 'an object with "cert" and "key"'), mustBe(CERTIFICATES)),
  v.minLength(1, mustBe("at least one certificate")),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!Array.isArray(value)) return;
    const seen = new Map<string, number>();
    value.forEach((certificate, index) => {
      if (!isRecord(certificate) || !Array.isArray(certificate.names)) return;
      for (const name of new Set(certificate.names.filter((name) => typeof name === "string"))) {
        const first = seen.get(name.toLowerCase());
        if (first === undefined) seen.set(name.toLowerCase(), index);
        else {addIssue({
            message: `names ${JSON.stringify(name)}, which [${first}] does too`,
            path: [pathItem(value, index)],
          });}
      }
    });
  }),
);

const authoritySchema = pemOrPathSchema("certificate", /-----BEGIN (?:TRUSTED )?CERTIFICATE-----/);
const authoritiesSchema = v.array(authoritySchema, mustBe("an array of PEM texts or paths of files"));

const clientCertificateEntries = {
  ca: v.optional(v.lazy((input) => Array.isArray(input) ? authoritiesSchema : authoritySchema)),
  mode: v.optional(v.picklist(CLIENT_CERTIFICATE_MODES, mustBe(oneOf(CLIENT_CERTIFICATE_MODES)))),
  verify: v.optional(v.function(mustBe("a function"))),
} satisfies Record<keyof ClientCertificateOptions, v.GenericSchema>;

const clientCertificatesSchema = v.pipe(
  optionsObject(
    clientCertificateEntries,
    'an object with "ca" or "verify"',
    (key) =>
      key === "crl"
        ? 'is nothing that the runtime looks at: "verify" can'
        : unknownKeyMessage(key, Object.keys(clientCertificateEntries)),
  ),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    const { ca, verify } = value;
    if (verify !== undefined || (ca !== undefined && !(Array.isArray(ca) && ca.length === 0))) return;
    addIssue({ message: 'needs "ca" or "verify": nothing else says whose certificates count' });
  }),
);

const tlsEntries = {
  cert: v.optional(pemEntries.cert),
  key: v.optional(pemEntries.key),
  certificates: v.optional(
    v.lazy((input) => typeof input === "function" ? v.function() : certificatesSchema),
  ),
  unknownNames: v.optional(v.picklist(UNKNOWN_NAMES, mustBe(oneOf(UNKNOWN_NAMES)))),
  minVersion: v.optional(v.picklist(TLS_VERSIONS, mustBe(oneOf(TLS_VERSIONS)))),
  http2: v.optional(v.boolean(mustBe("true or false"))),
  clientCertificates: v.optional(clientCertificatesSchema),
} satisfies Record<keyof ListenTlsOptions, v.GenericSchema>;

const TLS_EXPECTED = 'an object with "cert" and "key", or "certificates"';

/** What other proxies have, and why it is not here. */
function explainTlsKey(key: string): string {
  switch (key) {
    case "ciphers":
      return "is nothing that the runtime lets anybody choose: it has AES-GCM and ChaCha20-Poly1305 with ECDHE alone";
    case "maxVersion":
      return "is not there: what cannot speak TLS 1.3 speaks 1.2";
    default:
      return unknownKeyMessage(key, Object.keys(tlsEntries));
  }
}

const tlsSchema = v.pipe(
  optionsObject(tlsEntries, TLS_EXPECTED, explainTlsKey),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    const required = value.certificates === undefined || value.cert !== undefined || value.key !== undefined;
    for (const key of ["cert", "key"]) {
      if (required && value[key] === undefined) {
        addIssue({ message: "is required", path: [pathItem(value, key)] });
      }
    }
  }),
);

const clientTimeoutEntries = {
  head: v.optional(positiveDurationSchema),
  keepAlive: v.optional(positiveDurationSchema),
  content: v.optional(positiveDurationSchema),
  write: v.optional(positiveDurationSchema),
  halfClosed: v.optional(positiveDurationSchema),
} satisfies Record<keyof ClientTimeoutOptions, v.GenericSchema>;

const KIB = 1024;

const limitEntries = {
  timeouts: v.optional(optionsObject(clientTimeoutEntries, "an object with timeouts")),
  minContentRate: v.optional(byteSizeSchema(0, KIB * KIB)),
  maxRequestsPerConnection: v.optional(limitSchema(1)),
  maxConnections: v.optional(limitSchema(1)),
  maxConnectionsPerClient: v.optional(limitSchema(1)),
  maxHeadBytes: v.optional(byteSizeSchema(KIB, KIB * KIB)),
  maxFields: v.optional(wholeNumberSchema(1, 10_000)),
} satisfies Record<keyof ClientLimitOptions, v.GenericSchema>;

const proxyProtocolEntries = {
  from: networksSchema(),
} satisfies Record<keyof ProxyProtocolOptions, v.GenericSchema>;

/** What the server of the runtime does not let the proxy do. */
const HTTP1_ONLY: readonly (keyof ListenOptions)[] = [
  ...Object.keys(limitEntries) as (keyof ClientLimitOptions)[],
  "proxyProtocol",
  "http2",
];

/** Options of a place to listen at. */
export const listenEntries = {
  hostname: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && /^[^\s/@[\]#?]+$/.test(value),
      mustBe("an address or a host name"),
    ),
  ),
  port: v.optional(wholeNumberSchema(0, 65535)),
  tls: v.optional(tlsSchema),
  unix: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && value.startsWith("/"),
      mustBe("a path that begins with a slash"),
    ),
  ),
  redirect: v.optional(
    v.custom<string>((value) => parseRedirect(value) !== undefined, mustBe('"https" or "https:PORT"')),
  ),
  underscores: v.optional(v.picklist(UNDERSCORES, mustBe(oneOf(UNDERSCORES)))),
  engine: v.optional(v.picklist(ENGINE_NAMES, mustBe(oneOf(ENGINE_NAMES)))),
  proxyProtocol: v.optional(optionsObject(proxyProtocolEntries, 'an object with "from"')),
  reusePort: v.optional(v.boolean(mustBe("true or false"))),
  http2: v.optional(v.boolean(mustBe("true or false"))),
  ...limitEntries,
} satisfies Record<keyof ListenOptions, v.GenericSchema>;

/** Pairs of options of which one makes the other senseless, and why. */
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

/** Finds what the engine of a place cannot do. */
function checkEngine(
  place: Record<string, unknown>,
  addIssue: v.RawCheckContext<unknown>["addIssue"],
): void {
  const { tls, engine } = place as ListenOptions;
  if (engine !== "deno") return;
  const message = 'is for the engine "http1" only, and "deno" is the engine here';
  for (const key of HTTP1_ONLY) {
    if (place[key] !== undefined) addIssue({ message, path: [pathItem(place, key)] });
  }
  if (!isRecord(tls)) return;
  for (const key of HTTP1_TLS_ONLY) {
    if (tls[key] === undefined) continue;
    addIssue({ message, path: [pathItem(place, "tls"), pathItem(tls, key)] });
  }
}

const optionsSchema = v.pipe(
  optionsObject(listenEntries, LISTEN_EXPECTED),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    for (const [first, second, reason] of CONTRADICTIONS) {
      if (value[first] === undefined || value[second] === undefined) continue;
      addIssue({ message: `must not stand beside "${first}", ${reason}`, path: [pathItem(value, second)] });
    }
    checkEngine(value, addIssue);
  }),
);
const portNumberSchema = v.custom<number>(
  (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535,
  mustBe("a port number from 0 to 65535"),
);
const textSchema = v.custom<string>(
  (value) => typeof value === "string" && parseListen(value) !== undefined,
  mustBe(LISTEN_EXPECTED),
);

const placeSchema: v.GenericSchema = v.lazy((input) => {
  if (typeof input === "number") return portNumberSchema;
  return isRecord(input) ? optionsSchema : textSchema;
});

const placesSchema = v.pipe(
  v.array(placeSchema),
  v.minLength(1, mustBe("at least one place to listen at")),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!Array.isArray(dataset.value)) return;
    const seen = new Map<string, number>();
    dataset.value.forEach((place, index) => {
      // Other problems are told by their own checks, and keep a place from being read.
      const resolved = v.is(placeSchema, place)
        ? parseListen(place as Parameters<typeof parseListen>[0])
        : undefined;
      if (resolved === undefined || (resolved.unix === undefined && resolved.port === 0)) return;
      const id = formatListen(resolved);
      const first = seen.get(id);
      if (first === undefined) return void seen.set(id, index);
      addIssue({
        message: `is the same address as [${first}]`,
        path: [pathItem(dataset.value, index)],
      });
    });
  }),
);

/** A place to listen at, or an array of them. */
export const listenSchema: v.GenericSchema = v.lazy((input) =>
  Array.isArray(input) ? placesSchema : placeSchema
);
