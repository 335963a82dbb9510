/** TLS towards Redis. */

/** How a `rediss://` server is known, and what it is shown. */
export interface RedisTlsOptions {
  /** Name for SNI and for the check of the certificate, of every server. @default {the host of the server} */
  serverName?: string;
  /** PEM texts of authorities that are trusted beside the public ones. @default {[]} */
  caCerts?: readonly string[];
  /** PEM text of the certificate that is shown to a server that asks for one. */
  cert?: string;
  /** PEM text of the key of `cert`. */
  key?: string;
}

const CERTIFICATE = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----/;
const KEY = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/;

const RULES: Readonly<Record<keyof RedisTlsOptions, readonly [(value: unknown) => boolean, string]>> = {
  serverName: [
    (value) => typeof value === "string" && /^[A-Za-z0-9_.:-]+$/.test(value),
    "a host name without port",
  ],
  caCerts: [
    (value) => Array.isArray(value) && value.length > 0 && value.every((text) => isPem(text, CERTIFICATE)),
    "an array of PEM texts of certificates",
  ],
  cert: [(value) => isPem(value, CERTIFICATE), "the PEM text of a certificate"],
  key: [(value) => isPem(value, KEY), "the PEM text of a private key"],
};

/**
 * Lists everything that is wrong with TLS options: the option, `""` for the whole, and what is accepted.
 *
 * Never shows what was found: it may be a key.
 */
export function findTlsProblems(value: unknown): { option: string; message: string }[] {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [{ option: "", message: "must be an object with TLS options" }];
  }
  const tls = value as Record<string, unknown>;
  const known = Object.keys(RULES);
  const problems = Object.keys(tls).filter((option) => !known.includes(option)).map((option) => ({
    option,
    message: `is not a known key; known are ${known.join(", ")}`,
  }));
  for (const [option, [accepts, expected]] of Object.entries(RULES)) {
    if (tls[option] === undefined || accepts(tls[option])) continue;
    problems.push({ option, message: `must be ${expected}, received something else` });
  }
  for (const [present, missing] of [["cert", "key"], ["key", "cert"]] as const) {
    if (tls[present] === undefined || tls[missing] !== undefined) continue;
    problems.push({ option: missing, message: `is required beside "${present}"` });
  }
  return problems;
}

function isPem(value: unknown, begins: RegExp): boolean {
  return typeof value === "string" && begins.test(value);
}
