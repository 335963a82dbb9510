/** Servers, how to reach them, how to discover them, and how long exchanges with them may take. */

import {
  AUTHORITIES,
  choose,
  DURATION_ABOVE_0,
  FLAG,
  FUNCTION,
  isRecord,
  must,
  needEachOther,
  object,
  ofType,
  oneOf,
  orFlag,
  pem,
  PORT,
  required,
  type Rule,
  type Rules,
  text,
  whole,
  wholeOrInfinity,
  word,
} from "../core/options.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import type { UpstreamTlsOptions } from "../filter/resolve_peer.ts";
import {
  type Discover,
  dnsDiscovery,
  type DnsDiscoveryOptions,
  parseResolver,
  RESOLVER_EXPECTED,
} from "../upstream/discovery.ts";
import { ADDRESS_EXPECTED, MAX_WEIGHT, parseAddress, type Peer } from "../upstream/peer.ts";
import { isBrokenIpv4 } from "./listen_options.ts";

/**
 * A server with options in addition to its address.
 *
 * @example A larger server, and one for when the others are down
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: [
 *     { address: "10.0.0.1:8080", weight: 3, maxInFlight: 200 },
 *     "10.0.0.2:8080",
 *     { address: "10.0.0.3:8080", backup: true },
 *   ],
 * });
 * ```
 */
export interface ServerOptions {
  /** `"host:port"`, `"https://host:port"` or `"unix:/path"`. */
  address: string;
  /** Share of the requests, in relation to the other servers: a whole number from 0 (none) to 65535. @default {1} */
  weight?: number;
  /** TLS to this server: options are merged into those of the pool, `false` is plain text. @default {the pool's} */
  tls?: boolean | UpstreamTlsOptions;
  /** Whether the server is only used when all servers without this option are unavailable. @default {false} */
  backup?: boolean;
  /** Labels for balancing functions and filters. @default {[]} */
  tags?: readonly string[];
  /** Maximum number of requests in flight at this server. @default {Infinity} */
  maxInFlight?: number;
}

/**
 * Timeouts of the parts of an exchange with a server.
 *
 * @example Half a second to connect, ten seconds in all
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: { servers: ["127.0.0.1:9001"], timeouts: { connect: "500ms", total: "10s" } },
 * });
 * ```
 */
export interface TimeoutOptions {
  /** TCP connection. @default {"3s"} */
  connect?: Duration;
  /** TLS handshake after the TCP connection; with `fetch`, `connect` covers both. @default {as `connect`} */
  tls?: Duration;
  /** From the end of the request until the head of the response. @default {"30s"} */
  response?: Duration;
  /**
   * Between two parts of content, in either direction; a slow transfer that makes progress is never cut off.
   *
   * @default {"60s"} and none for server-sent events (`text/event-stream`)
   */
  idle?: Duration;
  /**
   * The whole exchange, from the arrival of the request to the end of the response: filters, waiting in a queue and all
   * attempts count. Each attempt gets the remaining time. For a WebSocket it ends when the WebSocket is open. Without
   * it there is no limit.
   *
   * @default {none}
   */
  total?: Duration;
}

/** A server with every default filled in. */
export interface ResolvedServer {
  /** The address as configured, without its scheme. */
  readonly id: string;
  readonly peer: Peer;
  readonly weight: number;
  readonly backup: boolean;
  readonly tags: readonly string[];
  readonly maxInFlight: number;
}

/** Describes a valid address, with a hint for the received text; `undefined` if the text is valid. */
function expectedAddress(text: string): string | undefined {
  const parsed = parseAddress(text);
  if (parsed !== undefined) {
    const { address } = parsed;
    if (address.kind === "tcp" && isBrokenIpv4(address.hostname)) {
      return `${ADDRESS_EXPECTED} with a whole IPv4 address or a name`;
    }
    return undefined;
  }
  if (text.startsWith("unix:")) return '"unix:/path" with an absolute path';
  const port = /:(\d+)\/?$/.exec(text);
  if (port !== null && (Number(port[1]) < 1 || Number(port[1]) > 65535)) {
    return `${ADDRESS_EXPECTED} with a port from 1 to 65535`;
  }
  if (/^[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*$/.test(text)) {
    return `${ADDRESS_EXPECTED} with an IPv6 address in brackets ("[::1]:80")`;
  }
  const scheme = /^([A-Za-z][\w+.-]*):\/\//.exec(text)?.[1];
  if (scheme !== undefined && scheme !== "http" && scheme !== "https") {
    return `${ADDRESS_EXPECTED}, "http://..." or "https://..."`;
  }
  if (/^https?:\/\/[^/]*@/.test(text)) return `${ADDRESS_EXPECTED} without user name and password`;
  if (/^(?:https?:\/\/)?[^/]+\//.test(text)) return `${ADDRESS_EXPECTED} without a path`;
  return ADDRESS_EXPECTED;
}

/** `"host:port"`, with or without scheme, or `"unix:/path"`. */
export const ADDRESS: Rule = must(
  (value) => typeof value === "string" && expectedAddress(value) === undefined,
  (value) => (typeof value === "string" ? expectedAddress(value) : undefined) ?? ADDRESS_EXPECTED,
);

const SERVER_NAME =
  /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$|^[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*$/;

const TLS_OPTIONS = object<UpstreamTlsOptions>(
  {
    serverName: text("a host name without port", (name) => SERVER_NAME.test(name)),
    caCerts: AUTHORITIES,
    cert: pem("certificate"),
    key: pem("private key"),
    verifyHostname: FLAG,
  },
  "true, false or an object with TLS options",
  { check: needEachOther("cert", "key") },
);

/** TLS towards servers: `true`, `false` or the options. */
export const UPSTREAM_TLS: Rule = orFlag(TLS_OPTIONS);

/** Timeouts of the parts of an exchange. */
export const TIMEOUTS: Rule = object<TimeoutOptions>({
  connect: DURATION_ABOVE_0,
  tls: DURATION_ABOVE_0,
  response: DURATION_ABOVE_0,
  idle: DURATION_ABOVE_0,
  total: DURATION_ABOVE_0,
}, "an object with timeouts");

const SERVER_OPTIONS = object<ServerOptions>(
  {
    address: required(ADDRESS),
    weight: whole(0, MAX_WEIGHT),
    tls: UPSTREAM_TLS,
    backup: FLAG,
    tags: must(
      (value) => Array.isArray(value) && value.every((tag) => typeof tag === "string"),
      "an array of words",
    ),
    maxInFlight: wholeOrInfinity(1),
  },
  '"host:port" or an object with "address"',
  {
    explain(name) {
      if (/^(?:sni|serverName)$/i.test(name)) {
        return 'is not a known key; it belongs in "tls", as "serverName"';
      }
      if (/^(?:max_?fails|fail_?timeout)$/i.test(name)) {
        return 'is not a known key; "ejection" of the pool says when servers are left alone';
      }
      return /^(?:host|hostname|ip|port)$/i.test(name)
        ? 'is not a known key; it belongs in "address", as "host:port"'
        : undefined;
    },
    otherNames: {
      address: ["url", "uri", "target", "server", "addr", "endpoint"],
      maxInFlight: ["maxConns", "maxConn", "maxConnections"],
    },
  },
);

/** An address, or an object with one. */
export const SERVER: Rule = choose((value) => typeof value === "string" ? ADDRESS : SERVER_OPTIONS);

// Discovery of servers while the proxy runs.

/**
 * Finds the servers of a pool; the signal aborts at the timeout. A search that fails or finds nothing changes no
 * server.
 */
type FindServers = Extract<DiscoveryOptions, { type: "custom" }>["discover"];

/** Interval and timeout of searches. */
type DiscoveryPacing = Pick<DiscoveryOptions, "interval" | "timeout">;

/**
 * Discovery of servers by DNS, or by a function that is called at an interval.
 *
 * @example Servers by the addresses of a name
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: { discovery: { type: "dns", record: "A", name: "api.internal", port: 8080, interval: "10s" } },
 * });
 * ```
 */
export type DiscoveryOptions =
  & {
    /** From the end of a search to the next one. @default {"30s"} */
    interval?: Duration;
    /** How long a search may take. @default {"5s"} */
    timeout?: Duration;
  }
  & (
    | {
      /** Source of the servers: DNS, for which `name` and `record` are required, or `discover`. */
      type: "dns";
      /** The name of the records, such as `"api.internal"` or `"_http._tcp.api.internal"`. */
      name: string;
      /** Kind of record: addresses, or SRV with host, port, weight and priority. */
      record: "A" | "AAAA" | "SRV";
      /** Port of the servers; required for A and AAAA, not used for SRV. @default {none} */
      port?: number;
      /** Name server to query, `"ip"` or `"ip:port"`. @default {those of the system} */
      resolver?: string;
    }
    | {
      type: "custom";
      /** Finds the servers, for the type `"custom"`. */
      discover: (signal: AbortSignal) => Promise<readonly (string | ServerOptions)[]>;
    }
  );

/** Discovery with every default filled in. */
export interface ResolvedDiscovery {
  /** The source of the servers, for people. */
  readonly source: string;
  readonly discover: Discover;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** Fills in the defaults of a validated discovery. */
export function resolveDiscovery(discovery: DiscoveryOptions | FindServers): ResolvedDiscovery {
  const options: DiscoveryOptions = typeof discovery === "function"
    ? { type: "custom", discover: discovery }
    : discovery;
  const { interval = "30s", timeout = "5s" } = options;
  return Object.freeze({
    source: describeSource(options),
    discover: options.type === "dns" ? dnsDiscovery(options) : options.discover as Discover,
    intervalMs: parseDuration(interval)!,
    timeoutMs: parseDuration(timeout)!,
  });
}

function describeSource(options: DiscoveryOptions): string {
  if (options.type === "custom") return "by a function";
  const { name, record, port, resolver } = options;
  const place = port === undefined ? "" : ` with port ${port}`;
  return `by ${record} records of ${name}${place}${resolver === undefined ? "" : ` from ${resolver}`}`;
}

const TYPES = ["dns", "custom"];
const EXPECTED = `an object with a "type" (${oneOf(TYPES)}) or a function`;
const TYPE = required(word(TYPES));
const PACING: Rules<DiscoveryPacing> = { interval: DURATION_ABOVE_0, timeout: DURATION_ABOVE_0 };

const DNS = object<{ type: "dns" } & DnsDiscoveryOptions & DiscoveryPacing>(
  {
    type: TYPE,
    name: required(text(
      'a name such as "api.internal"',
      (name) => /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/.test(name),
    )),
    record: required(word(["A", "AAAA", "SRV"])),
    port: PORT,
    resolver: text(RESOLVER_EXPECTED, (resolver) => parseResolver(resolver) !== undefined),
    ...PACING,
  },
  EXPECTED,
  {
    check({ record, port }, report) {
      if (record === "SRV" && port !== undefined) {
        report('is not possible where "record" is "SRV", which tells the ports', "port");
      }
      if ((record === "A" || record === "AAAA") && port === undefined) {
        report(`is required where "record" is "${record}"`, "port");
      }
    },
  },
);

const CUSTOM = object<{ type: "custom"; discover: FindServers } & DiscoveryPacing>(
  { type: TYPE, discover: required(FUNCTION), ...PACING },
  EXPECTED,
);

/** The discovery of servers. */
export const DISCOVERY: Rule = choose((value) => {
  if (typeof value === "function") return FUNCTION;
  if (isRecord(value) && value.type === "custom") return CUSTOM;
  // The known options depend on the type.
  return isRecord(value) && value.type !== "dns" ? ofType(TYPE) : DNS;
});
