/** The engine for behaviour tests, and limitations of each engine. */

import {
  type EngineName,
  type Listen,
  type ListenOptions,
  parseListen,
} from "../../lib/config/listen_options.ts";
import { type KeyPair, testCa } from "./test_ca.ts";

/**
 * The engine of listeners without TLS, unless a test sets one; `LBPROXY_TEST_ENGINE=deno` tests the runtime's server.
 */
export const ENGINE: Exclude<EngineName, "auto"> = Deno.env.get("LBPROXY_TEST_ENGINE") === "deno"
  ? "deno"
  : "http1";

const HALF_CLOSED = "500ms";

/** Whether clients use HTTP/2, unless the test opens the connections itself; set by `LBPROXY_TEST_ENGINE=h2`. */
export const OVER_HTTP2: boolean = Deno.env.get("LBPROXY_TEST_ENGINE") === "h2";

/** Whether listeners without TLS get TLS, if the test only sets an address; also set by `LBPROXY_TEST_ENGINE=tls`. */
export const OVER_TLS: boolean = OVER_HTTP2 || Deno.env.get("LBPROXY_TEST_ENGINE") === "tls";

/** The scheme of client URLs. */
export const SCHEME: "http" | "https" = OVER_TLS ? "https" : "http";

/** Ports of listeners that got TLS, for clients on loopback. */
export const TLS_PORTS: Set<number> = new Set();

/** Limitations of the `deno` engine because of `Deno.serve` (Deno 2.9.6). */
export const DENO_CANNOT = {
  "HTTP/1.0 without Host": "HTTP/1.0 looks like HTTP/1.1; only OPTIONS without any field is let through",
  "OPTIONS *": "it looks like OPTIONS /*",
  "content of GET": "there is no access to it",
  "bytes that are no UTF-8": "the target is shown as a URL, which stands for UTF-8",
  "the target as it came": "of the absolute form only what stands behind the host is shown",
  "405 to CONNECT with content": "its content is taken for the next request",
  "400 to half a head": "the connection is closed without a word",
  "length of a 205": "a 205 has no length, so that the connection has to end",
  "1xx of servers": "interim responses cannot be sent",
  "trailers": "there is no access to them",
  "WebSocket frames as they came": "messages are read and written whole, without extensions",
  "lines of a field apart": "they are joined by a comma, cookies too",
  "other upgrades": "there is no access to the connection",
} as const;

/** Limitations of the `http1` engine. */
export const HTTP1_CANNOT = {
  "HTTP/2 without TLS": "it speaks HTTP/1.1",
  "heads above 32 KiB": "they are refused, as far as `maxHeadBytes` and `maxFields` do not allow them",
  "trailers above 8 KiB": "they are refused",
  "empty lines of a field between others": "they are dropped, as those around them are on every engine",
  "texts of WebSockets checked":
    "frames go on as they come, and their ends check the UTF-8 (RFC 6455 section 8.1)",
  "messages of WebSockets kept in memory": "whoever sends waits for whoever takes them",
  "short content whole": "it goes on as it comes, so that a failure after its head cannot become a 502",
  "Deno.upgradeWebSocket() in a filter": "that is for connections of the runtime",
} as const;

/**
 * Features that HTTP/2 does not have.
 *
 * `deno task test:tls` and `test:h2` also omit whole folders: `program`, `examples` and `admin` start the program with
 * separate listeners; `redis` tests parts after the limiter.
 */
export const HTTP2_CANNOT = {
  "absolute form": "scheme, host and path of a target come apart",
  "connection: close": "a response does not end the connection, which others are on",
  "length of no content": "a head that is the end needs none",
  "chunks": "frames say where content ends",
  "fields that Connection names":
    "a request with fields of a connection is malformed (RFC 9113 section 8.2.2)",
  "upgrades": "there are none (RFC 9113 section 8.6)",
  "limit of a target": "it counts with the fields of its head",
  "CONNECT by ask()": "its client names scheme and path, so that it is malformed",
  "content of another length": "it is malformed, and its stream is reset (RFC 9113 section 8.1.1)",
} as const;

/** Limitations of listeners that get TLS for a test. */
export const TLS_CANNOT = {
  "plain HTTP": "their clients come by https",
  "be a server of a proxy": "servers of these tests are asked without TLS",
} as const;

/** Whether the engine under test supports a feature. */
export function engineCan(
  what:
    | keyof typeof DENO_CANNOT
    | keyof typeof HTTP1_CANNOT
    | keyof typeof HTTP2_CANNOT
    | keyof typeof TLS_CANNOT,
): boolean {
  if (OVER_HTTP2 && Object.hasOwn(HTTP2_CANNOT, what)) return false;
  if (OVER_TLS && Object.hasOwn(TLS_CANNOT, what)) return false;
  return !Object.hasOwn(ENGINE === "deno" ? DENO_CANNOT : HTTP1_CANNOT, what);
}

/** The same listen addresses, with the engine under test. */
export async function onEngine(listen: Listen | readonly Listen[]): Promise<Listen | readonly Listen[]> {
  if (!OVER_TLS) return Array.isArray(listen) ? listen.map(onEngineOne) : onEngineOne(listen as Listen);
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  return Array.isArray(listen) ? listen.map((place) => secure(place, tls)) : secure(listen as Listen, tls);
}

function secure(listen: Listen, tls: KeyPair): Listen {
  const options: ListenOptions = typeof listen === "object" ? listen : textOptions(listen);
  const { unix, redirect, engine } = options;
  if (unix !== undefined || redirect !== undefined || engine !== undefined || options.tls !== undefined) {
    return listen;
  }
  const timeouts = { halfClosed: HALF_CLOSED, ...options.timeouts } as const;
  const place: ListenOptions = { ...options, engine: "http1", tls, timeouts };
  secured.add(place);
  return place;
}

const secured = new WeakSet<ListenOptions>();

/** Whether {@linkcode onEngine} has added TLS to the listen address. */
export function isSecuredForTest(place: Listen): boolean {
  return typeof place === "object" && secured.has(place);
}

function onEngineOne(listen: Listen): Listen {
  const options: ListenOptions = typeof listen === "object" ? listen : textOptions(listen);
  const { tls, engine = ENGINE, timeouts } = options;
  if (tls !== undefined) return listen;
  // A short timeout for clients that have disconnected, or shut down their side, so that tests do not wait.
  if (engine === "http1") return { ...options, engine, timeouts: { halfClosed: HALF_CLOSED, ...timeouts } };
  return { ...options, engine };
}

function textOptions(listen: Listen): ListenOptions {
  const { hostname, port, unix } = parseListen(listen)!;
  return unix === undefined ? { hostname, port } : { unix };
}
