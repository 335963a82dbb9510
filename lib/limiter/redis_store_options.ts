/** Options of a store that several machines share. */

import {
  ANYTHING,
  AUTHORITIES,
  choose,
  must,
  needEachOther,
  object,
  pem,
  type Report,
  required,
  type Rule,
  text,
  type Unchecked,
  whole,
  word,
} from "../core/options.ts";
import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/units.ts";

/**
 * Counts in Redis or Valkey, shared by all proxies that name the same server and prefix.
 *
 * Each request costs one command, which decides about all policies in one step, by the server's time. The number of
 * keys is limited by the memory of the server (`maxmemory`), not by `maxKeys`; each key expires one second after it no
 * longer counts. Permits of `"concurrency"` have a lease of 10 seconds that their instance renews. Needs `--allow-net`
 * for the server (all servers of a cluster) and, as its client reads environment variables, `--allow-env` or
 * `--ignore-env`.
 *
 * @example Limits that several machines share
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   limiter: {
 *     key: "ip",
 *     limit: 100,
 *     window: "1m",
 *     store: { type: "redis", url: "redis://127.0.0.1:6379", onStoreError: "local", instances: 3 },
 *   },
 * });
 * ```
 */
export interface RedisStoreOptions {
  /** Kind of the store; also for Valkey. */
  type: "redis";
  /**
   * `redis://[user:password@]host[:port][/db]`, or `rediss://` over TLS. Several URLs, which differ in host and port
   * only, are tried in turn. For a cluster, name any server: it redirects to the server with the keys of this prefix.
   */
  url: string | readonly string[];
  /** TLS options for `rediss://` servers. @default {{}} */
  tls?: {
    /** Name for SNI and for the check of the certificate, for every server. @default {the host of the server} */
    serverName?: string;
    /** PEM texts of authorities that are trusted in addition to the public ones. @default {none} */
    caCerts?: readonly string[];
    /** PEM text of the client certificate, for servers that request one. @default {none} */
    cert?: string;
    /** PEM text of the private key of `cert`. @default {none} */
    key?: string;
  };
  /**
   * Prefix of all keys, and their hash tag in a cluster. Proxies with different prefixes count separately.
   *
   * @default {"lbproxy"}
   */
  prefix?: string;
  /** How long a request may wait for the response of the store. @default {"20ms"} */
  timeout?: Duration;
  /**
   * Action for requests if the store does not respond: `"open"` lets them pass, `"closed"` refuses them with 503,
   * `"local"` counts them in a table of this instance, with its part of the limit. After 5 failures in a row no request
   * waits until the server responds again.
   *
   * @default {"local"}
   */
  onStoreError?: "open" | "closed" | "local";
  /** Number of instances of the proxy. With `"local"` each grants `limit / instances`, at least 1. @default {1} */
  instances?: number;
  /**
   * How many requests are counted in Redis at a time: the next requests with the same keys and cost need no call to
   * Redis. For busy keys with a much higher limit. What an instance has not used by the end of the window is lost to
   * the others. A fixed window never admits more than its limit; other algorithms may admit up to `prefetch - 1` more
   * per instance.
   *
   * @default {1}
   */
  prefetch?: number;
}

/** TLS options for `rediss://` servers. */
export type RedisTlsOptions = NonNullable<RedisStoreOptions["tls"]>;

/** A Redis store with every default filled in. */
export interface ResolvedRedisStore {
  /** See {@linkcode RedisStoreOptions.url}. */
  readonly urls: readonly string[];
  /** See {@linkcode RedisStoreOptions.tls}. */
  readonly tls: {
    /** Name for SNI and for the check of the certificate, for every server. @default {the host of the server} */
    serverName?: string;
    /** PEM texts of authorities that are trusted in addition to the public ones. @default {none} */
    caCerts?: readonly string[];
    /** PEM text of the client certificate, for servers that request one. */
    cert?: string;
    /** PEM text of the private key of `cert`. */
    key?: string;
  };
  /** See {@linkcode RedisStoreOptions.prefix}. */
  readonly prefix: string;
  /** See {@linkcode RedisStoreOptions.timeout}. */
  readonly timeoutMs: number;
  /** See {@linkcode RedisStoreOptions.onStoreError}. */
  readonly onStoreError: "open" | "closed" | "local";
  /** See {@linkcode RedisStoreOptions.instances}. */
  readonly instances: number;
  /** See {@linkcode RedisStoreOptions.prefetch}. */
  readonly prefetch: number;
}

const URL_EXPECTED = '"redis://host:port" or "rediss://host:port", or an array of them';

/** Does not print the received value, which may contain a password. */
const URLS: Rule = (value, report) => {
  const urls: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (urls.length > 0 && urls.every((url) => parseRedisUrl(url) !== undefined)) return;
  report(
    `must be ${URL_EXPECTED}, received ${typeof value === "string" ? "another text" : "something else"}`,
  );
};

const REDIS_TLS = object<RedisTlsOptions>(
  {
    serverName: text("a host name without port", (name) => /^[A-Za-z0-9_.:-]+$/.test(name)),
    caCerts: AUTHORITIES,
    cert: pem("certificate"),
    key: pem("private key"),
  },
  "an object with TLS options",
  { check: needEachOther("cert", "key") },
);

const REDIS = object<RedisStoreOptions>(
  {
    type: required(must((value) => value === "redis", '"redis"')),
    url: required(URLS),
    tls: REDIS_TLS,
    prefix: text(
      "from 1 to 64 printable ASCII characters without spaces and braces",
      (value) => /^[\x21-\x7a]{1,64}$/.test(value),
    ),
    timeout: must((value) => {
      const timeoutMs = parseDuration(value);
      return timeoutMs !== undefined && timeoutMs >= 1 && timeoutMs <= 10_000;
    }, `${DURATION_EXPECTED}, from 1ms to 10s`),
    onStoreError: word(["open", "closed", "local"]),
    instances: whole(1),
    prefetch: whole(1, 1000),
  },
  '"memory" or { type: "redis", url: "redis://host:6379" }',
  { check: checkUrls },
);

/** The store of the counts. */
export const STORE: Rule = choose((store) => store === "memory" ? ANYTHING : REDIS);

/** Fills in the defaults; `null` for the memory store. */
export function resolveStore(store: "memory" | RedisStoreOptions): ResolvedRedisStore | null {
  if (store === "memory") return null;
  const {
    url,
    tls = {},
    prefix = "lbproxy",
    timeout = "20ms",
    onStoreError = "local",
    instances = 1,
    prefetch = 1,
  } = store;
  const urls = Object.freeze(typeof url === "string" ? [url] : [...url]);
  return Object.freeze({
    urls,
    tls,
    prefix,
    timeoutMs: parseDuration(timeout)!,
    onStoreError,
    instances,
    prefetch,
  });
}

/** The URLs of the store, without user and password. */
export function storeAddress({ urls }: ResolvedRedisStore): string {
  return urls.map((url) => {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
  }).join(", ");
}

/** Checks combinations of options. */
function checkUrls({ url, tls }: Unchecked<RedisStoreOptions>, report: Report): void {
  const [first, ...others] = (Array.isArray(url) ? url : [url]).map(parseRedisUrl);
  if (first === undefined) return;
  const sameExceptAddress = (other: RedisUrl): boolean =>
    (["secure", "username", "password", "db"] as const).every((part) => first[part] === other[part]);
  others.forEach((other, i) => {
    if (other === undefined || sameExceptAddress(other)) return;
    report("must differ from [0] in host and port only", "url", i + 1);
  });
  if (tls !== undefined && !first.secure) report('is only for "rediss://"', "tls");
}

/** The parts of a Redis URL. */
interface RedisUrl {
  readonly hostname: string;
  readonly port: number;
  /** Whether the connection uses TLS. */
  readonly secure: boolean;
  /** `""` for the default user. */
  readonly username: string;
  /** `""` for no password. */
  readonly password: string;
  /** Database number. */
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
