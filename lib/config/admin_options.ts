/** Options of the admin listener. */

import {
  byName,
  isRecord,
  list,
  must,
  mustSecretly,
  object,
  pemOrPath,
  reject,
  type Report,
  required,
  type Rule,
  text,
  whole,
  word,
} from "../core/options.ts";
import { formatListen, parseListen } from "./listen_options.ts";

/** A token: the name of a file with it, the name of an environment variable with it, or the token itself. */
export type AdminToken = NonNullable<AdminOptions["tokens"]>[string];

/**
 * The admin listener: the dashboard, the state of the proxy, and changes to it.
 *
 * @example Changes with a token from the environment
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   admin: { listen: "127.0.0.1:6189", tokens: { ops: { env: "LBPROXY_ADMIN_TOKEN" } } },
 * });
 * ```
 */
export interface AdminOptions {
  /** `"host:port"`, `"unix:/path"` or a port of `127.0.0.1`. A public address needs a token. @default {"127.0.0.1:6189"} */
  listen?: string | number;
  /**
   * Tokens for changes, by the name of their owner; the log names the owner of each change. Without tokens no change is
   * possible.
   *
   * @default {none}
   */
  tokens?: Readonly<Record<string, string | { readonly file: string } | { readonly env: string }>>;
  /**
   * Permission to read: for all clients that reach the listener, or for requests with a token only.
   *
   * @default {"anyone", and "token" at a public address}
   */
  read?: "anyone" | "token";
  /** Names by which browsers reach it, in addition to `localhost`, addresses and the host of `listen`. @default {[]} */
  hosts?: readonly string[];
  /** When `/readyz` reports ready. @default {{}} */
  readyz?: {
    /** The pools that `/readyz` checks. @default {none} */
    pools?: readonly string[];
    /** How many usable servers each of these pools needs. @default {1} */
    minServers?: number;
  };
  /** TLS for the admin listener; certificate and key are reloaded when their files change. @default {none} */
  tls?: {
    /** PEM text of the certificate, followed by those of its authorities; or the path of a file with it. */
    cert: string;
    /** PEM text of the private key of `cert`, or the path of a file with it. */
    key: string;
  };
}

/** TLS of the admin listener. */
type AdminTlsOptions = NonNullable<AdminOptions["tls"]>;

/** Condition for readiness. The proxy is never ready while it shuts down. */
type ReadinessOptions = NonNullable<AdminOptions["readyz"]>;

/** Values of `read`. */
const ADMIN_READERS = ["anyone", "token"] as const;

/** Minimum length of a token: 16 characters cannot be guessed. */
export const MIN_TOKEN_LENGTH = 16;

/** Address of the admin listener. */
export interface AdminPlace {
  readonly hostname: string;
  readonly port: number;
  /** Path of the socket, instead of host and port. */
  readonly unix?: string;
}

/** {@linkcode AdminOptions} with every default filled in. */
export interface ResolvedAdmin {
  readonly listen: AdminPlace;
  readonly tokens: ReadonlyMap<string, AdminToken>;
  readonly read: typeof ADMIN_READERS[number];
  readonly hosts: readonly string[];
  readonly readyz: Required<ReadinessOptions>;
  /** `null` without TLS. */
  readonly tls: AdminTlsOptions | null;
}

const DEFAULT_ADMIN = "127.0.0.1:6189";

/** Parses the address of the admin listener; `undefined` if it is invalid. A port alone means `127.0.0.1`. */
export function parseAdminListen(listen: unknown = DEFAULT_ADMIN): AdminPlace | undefined {
  const place = typeof listen === "number" ? `127.0.0.1:${listen}` : listen;
  return typeof place === "string" ? parseListen(place) : undefined;
}

/** Whether only clients on this machine can reach the address. */
export function isPrivatePlace({ hostname, unix }: AdminPlace): boolean {
  return unix !== undefined ||
    /^(?:localhost|127(?:\.\d{1,3}){3}|::1|::ffff:127(?:\.\d{1,3}){3})$/i.test(hostname);
}

/** Fills in the defaults of validated options; `null` without an admin listener. */
export function resolveAdmin(admin: string | number | boolean | AdminOptions = false): ResolvedAdmin | null {
  if (admin === false) return null;
  const options: AdminOptions = admin === true ? {} : typeof admin === "object" ? admin : { listen: admin };
  const listen = parseAdminListen(options.listen)!;
  const { tokens = {}, read = isPrivatePlace(listen) ? "anyone" : "token", hosts = [], readyz = {} } =
    options;
  const { tls = null } = options;
  const { pools = [], minServers = 1 } = readyz;
  return Object.freeze({
    listen,
    tokens: new Map(Object.entries(tokens)),
    read,
    hosts: Object.freeze([...hosts]),
    readyz: Object.freeze({ pools: Object.freeze([...pools]), minServers }),
    tls: tls === null ? null : Object.freeze({ cert: tls.cert, key: tls.key }),
  });
}

/** Describes the options for people. Of tokens, only the names of their owners are shown. */
export function describeAdmin({ listen, tokens, read, readyz, tls }: ResolvedAdmin): string {
  const owners = [...tokens.keys()];
  return [
    tls === null ? formatListen(listen) : `${formatListen(listen)} with TLS`,
    read === "anyone" ? "everybody who reaches it may read" : "reading needs a token",
    owners.length === 0 ? "no changes (no token)" : `changes by ${owners.join(", ")}`,
    ...(readyz.pools.length === 0
      ? []
      : [`ready with ${readyz.minServers} of ${readyz.pools.join(" and of ")}`]),
  ].join(", ");
}

const PLACE_EXPECTED = '"host:port", "unix:/path" or a port number';
const EXPECTED =
  `${PLACE_EXPECTED}, true, false or an object with "listen", "tokens", "read", "hosts", "readyz" and "tls"`;
const PUBLIC = 'needs "tokens" at an address that other machines can reach';

const isPlace = (value: unknown): boolean =>
  typeof value !== "object" && parseAdminListen(value) !== undefined;

/** Error messages do not show the value: it may be a misspelt token. */
const TOKEN = mustSecretly(
  isToken,
  `{ file: "PATH" }, { env: "NAME" } or the text of a token of at least ${MIN_TOKEN_LENGTH} characters`,
);

function isToken(value: unknown): boolean {
  if (typeof value === "string") return isTokenText(value);
  if (!isRecord(value)) return false;
  const [[kind, name] = [], ...others] = Object.entries(value);
  return others.length === 0 && (kind === "file" || kind === "env") && typeof name === "string" &&
    name !== "";
}

/** Whether a text is valid in an `Authorization` field (RFC 6750 section 2.1) and long enough. */
function isTokenText(text: string): boolean {
  return text.length >= MIN_TOKEN_LENGTH && /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

const OPTIONS = object<AdminOptions>(
  {
    listen: must(isPlace, PLACE_EXPECTED),
    tokens: byName(
      TOKEN,
      "an object of tokens by the names of their owners",
      (name) =>
        /^[\w.@-]{1,64}$/.test(name)
          ? undefined
          : "must be named with letters, digits and ._@- only, 64 at most",
    ),
    read: word(ADMIN_READERS),
    hosts: list(
      text("a host name without port", (name) => /^[^\s/@?#:[\]]+$/.test(name)),
      "an array of host names",
    ),
    readyz: object<ReadinessOptions>({
      pools: list(text("the name of a pool"), "an array of names of pools"),
      minServers: whole(1, 65_535),
    }, 'an object with "pools" and "minServers"'),
    tls: object<AdminTlsOptions>({
      cert: required(pemOrPath("certificate")),
      key: required(pemOrPath("private key")),
    }, 'an object with "cert" and "key"'),
  },
  EXPECTED,
  {
    check({ listen, tokens, read, tls }, report) {
      const place = parseAdminListen(listen);
      if (tls !== undefined && place?.unix !== undefined) report("needs a host and a port", "tls");
      const isPublic = place !== undefined && !isPrivatePlace(place);
      const hasTokens = isRecord(tokens) && Object.keys(tokens).length > 0;
      if (isPublic && !hasTokens) return report(PUBLIC);
      if (isPublic && read === "anyone") {
        report('must be "token" where others than this machine can reach it', "read");
      }
      if (read === "token" && !hasTokens) report('must not be "token" without "tokens"', "read");
    },
  },
);

/** An address, or the options. */
export const ADMIN: Rule = (value: unknown, report: Report): void => {
  if (isRecord(value)) return OPTIONS(value, report);
  if (typeof value === "boolean") return;
  if (!isPlace(value)) return reject(value, EXPECTED, report);
  if (!isPrivatePlace(parseAdminListen(value)!)) report(PUBLIC);
};
