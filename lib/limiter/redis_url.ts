/** Reads addresses of Redis servers. */

/** What a URL says. */
export interface RedisUrl {
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
