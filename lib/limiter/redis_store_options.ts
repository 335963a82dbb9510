/** Where counts are kept that several machines share. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/units.ts";

/** What becomes of requests that the store does not decide about in time. */
export type StoreErrorAction = "open" | "closed" | "local";

/**
 * Counts in Redis or Valkey, shared by all proxies that name the same server and prefix.
 *
 * Each request costs one command, which decides about all policies in one step and with the server's time. How many keys
 * there are is bounded by the memory of the server (`maxmemory`) and not by `maxKeys`; each ends by itself, one second after
 * it counts for nothing. Places of `"concurrency"` have a lease of 10 seconds that their instance renews. Needs
 * `--allow-net` for the server (of a cluster, for all of them) and, as its client reads environment variables, `--allow-env` or `--ignore-env`.
 */
export interface RedisStoreOptions {
  /** Which kind of store; Valkey is the same one. */
  type: "redis";
  /**
   * `redis://[user:password@]host[:port][/db]`, or `rediss://` over TLS; several of them, which differ in host and port
   * only, are tried in turn. Of a cluster any server will do: it names the one that has the keys of this prefix.
   */
  url: string | readonly string[];
  /** How a `rediss://` server is known, and what it is shown. @default {{}} */
  tls?: RedisTlsOptions;
  /**
   * What all keys begin with, and their hash tag in a cluster. Proxies with different prefixes count apart.
   *
   * @default {"lbproxy"}
   */
  prefix?: string;
  /** How long a request may wait for the answer. @default {"20ms"} */
  timeout?: Duration;
  /**
   * What becomes of requests without an answer: `"open"` lets them pass, `"closed"` refuses them with 503, `"local"`
   * counts them in a table of this instance, by its part of the limit. After 5 failures in a row nobody waits any more
   * until the server answers again.
   *
   * @default {"local"}
   */
  onStoreError?: StoreErrorAction;
  /** How many instances of the proxy there are: for `"local"` each grants `limit / instances`, at least 1. @default {1} */
  instances?: number;
  /**
   * How often a request is counted at once, so that as many requests of the same keys and cost need not ask: for limits
   * far above it, of busy keys. What an instance does not use until the end of the window is lost to the others. A fixed
   * window never admits more than its limit; others may admit up to `lease - 1` more for each instance.
   *
   * @default {1}
   */
  lease?: number;
}

/** A Redis store with every default filled in. */
export interface ResolvedRedisStore {
  /** See {@linkcode RedisStoreOptions.url}. */
  readonly urls: readonly string[];
  /** See {@linkcode RedisStoreOptions.tls}. */
  readonly tls: RedisTlsOptions;
  /** See {@linkcode RedisStoreOptions.prefix}. */
  readonly prefix: string;
  /** See {@linkcode RedisStoreOptions.timeout}. */
  readonly timeoutMs: number;
  /** See {@linkcode RedisStoreOptions.onStoreError}. */
  readonly onStoreError: StoreErrorAction;
  /** See {@linkcode RedisStoreOptions.instances}. */
  readonly instances: number;
  /** See {@linkcode RedisStoreOptions.lease}. */
  readonly lease: number;
}

/** Something wrong with the options of a store. */
interface StoreProblem {
  /** The way to the option it is about; empty for the store itself. */
  readonly path: readonly (string | number)[];
  /** What is accepted and what was found, to be read after the option. */
  readonly message: string;
}

/** What stands in place of a store, for error messages. */
const STORE_EXPECTED = '"memory" or { type: "redis", url: "redis://host:6379" }';
const ACTIONS: readonly unknown[] = ["open", "closed", "local"];
const MAX_TIMEOUT_MS = 10_000;

const URL_EXPECTED = '"redis://host:port" or "rediss://host:port"';

/** What each option must be; whether it may be left out is said by what accepts `undefined`. */
const RULES: Readonly<Record<keyof RedisStoreOptions, readonly [(value: unknown) => boolean, string]>> = {
  type: [(value) => value === "redis", '"redis"'],
  url: [areRedisUrls, `${URL_EXPECTED}, or an array of them`],
  // What is wrong with it is found by its own file.
  tls: [() => true, ""],
  prefix: [
    (value) => value === undefined || (typeof value === "string" && /^[\x21-\x7a]{1,64}$/.test(value)),
    "from 1 to 64 printable ASCII characters without spaces and braces",
  ],
  timeout: [isTimeout, `${DURATION_EXPECTED}, from 1ms to 10s`],
  onStoreError: [(value) => value === undefined || ACTIONS.includes(value), '"open", "closed" or "local"'],
  instances: [
    (value) => value === undefined || (Number.isInteger(value) && value as number >= 1),
    "a whole number of at least 1",
  ],
  lease: [
    (value) =>
      value === undefined || (Number.isInteger(value) && value as number >= 1 && value as number <= 1000),
    "a whole number from 1 to 1000",
  ],
};

/** Lists everything that is wrong with the `store` of a policy; empty when nothing is. */
export function findStoreProblems(value: unknown): StoreProblem[] {
  if (value === undefined || value === "memory") return [];
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [{ path: [], message: `must be ${STORE_EXPECTED}, received ${JSON.stringify(value)}` }];
  }
  const store = value as Record<string, unknown>;
  const known = Object.keys(RULES);
  const problems: StoreProblem[] = [];
  for (const option of Object.keys(store)) {
    if (known.includes(option)) continue;
    problems.push({ path: [option], message: `is not a known key; known are ${known.join(", ")}` });
  }
  for (const [option, [accepts, expected]] of Object.entries(RULES)) {
    if (accepts(store[option])) continue;
    const found = store[option];
    const message = found === undefined
      ? "is required"
      : `must be ${expected}, received ${shown(option, found)}`;
    problems.push({ path: [option], message });
  }
  for (const { option, message } of findTlsProblems(store.tls)) {
    problems.push({ path: option === "" ? ["tls"] : ["tls", option], message });
  }
  return [...problems, ...findContradictions(store)];
}

/** Fills in the defaults; `null` for a store in memory. */
export function resolveStore(store: "memory" | RedisStoreOptions): ResolvedRedisStore | null {
  if (store === "memory") return null;
  const {
    url,
    tls = {},
    prefix = "lbproxy",
    timeout = "20ms",
    onStoreError = "local",
    instances = 1,
    lease = 1,
  } = store;
  const urls = Object.freeze(typeof url === "string" ? [url] : [...url]);
  return Object.freeze({
    urls,
    tls,
    prefix,
    timeoutMs: parseDuration(timeout)!,
    onStoreError,
    instances,
    lease,
  });
}

/** The addresses of the store without user and password. */
export function storeAddress({ urls }: ResolvedRedisStore): string {
  return urls.map((url) => {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
  }).join(", ");
}

function areRedisUrls(value: unknown): boolean {
  const urls: readonly unknown[] = Array.isArray(value) ? value : [value];
  return urls.length > 0 && urls.every((url) => parseRedisUrl(url) !== undefined);
}

/** What is good by itself and does not go together. */
function findContradictions({ url, tls }: Record<string, unknown>): StoreProblem[] {
  const [first, ...others] = (Array.isArray(url) ? url : [url]).map(parseRedisUrl);
  if (first === undefined) return [];
  const problems: StoreProblem[] = [];
  const sameBeside = (other: RedisUrl): boolean =>
    (["secure", "username", "password", "db"] as const).every((part) => first[part] === other[part]);
  others.forEach((other, i) => {
    if (other === undefined || sameBeside(other)) return;
    problems.push({ path: ["url", i + 1], message: "must differ from [0] in host and port only" });
  });
  if (tls !== undefined && !first.secure) {
    problems.push({ path: ["tls"], message: 'is only for "rediss://"' });
  }
  return problems;
}

function isTimeout(value: unknown): boolean {
  const timeoutMs = value === undefined ? 20 : parseDuration(value);
  return timeoutMs !== undefined && timeoutMs >= 1 && timeoutMs <= MAX_TIMEOUT_MS;
}

/** What was found; never a URL, which may have a password in it. */
function shown(option: string, value: unknown): string {
  if (option === "url") return typeof value === "string" ? "another text" : "something else";
  return JSON.stringify(value) ?? String(value);
}

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

const TLS_RULES: Readonly<Record<keyof RedisTlsOptions, readonly [(value: unknown) => boolean, string]>> = {
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
function findTlsProblems(value: unknown): { option: string; message: string }[] {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [{ option: "", message: "must be an object with TLS options" }];
  }
  const tls = value as Record<string, unknown>;
  const known = Object.keys(TLS_RULES);
  const problems = Object.keys(tls).filter((option) => !known.includes(option)).map((option) => ({
    option,
    message: `is not a known key; known are ${known.join(", ")}`,
  }));
  for (const [option, [accepts, expected]] of Object.entries(TLS_RULES)) {
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

/** Reads addresses of Redis servers. */

/** What a URL says. */
interface RedisUrl {
  readonly hostname: string;
  readonly port: number;
  /** Whether the server is spoken to over TLS. */
  readonly secure: boolean;
  /** `""` for the default user. */
  readonly username: string;
  /** `""` for none. */
  readonly password: string;
  /** Number of the database. */
  readonly db: number;
}

const DEFAULT_PORT = 6379;

/** Reads `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS; `undefined` for anything else. */
export function parseRedisUrl(value: unknown): RedisUrl | undefined {
  if (typeof value !== "string" || !/^rediss?:\/\//.test(value)) return undefined;
  const url = URL.parse(value);
  if (url === null || url.hostname === "" || !/^(\/\d{0,9})?$/.test(url.pathname)) return undefined;
  const username = decoded(url.username);
  const password = decoded(url.password);
  if (username === undefined || password === undefined || url.search !== "" || url.hash !== "") {
    return undefined;
  }
  return {
    hostname: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? DEFAULT_PORT : Number(url.port),
    secure: url.protocol === "rediss:",
    username,
    password,
    db: Number(url.pathname.slice(1)),
  };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
