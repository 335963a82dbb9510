/** Servers, the way to them, and how long exchanges with them may take. */

import {
  AUTHORITIES,
  choose,
  DURATION_ABOVE_0,
  FLAG,
  must,
  needEachOther,
  object,
  orFlag,
  pem,
  required,
  type Rule,
  text,
  whole,
  wholeOrInfinity,
} from "../core/options.ts";
import type { Duration } from "../core/units.ts";
import type { UpstreamTlsOptions } from "../filter/resolve_peer.ts";
import { ADDRESS_EXPECTED, parseAddress } from "../upstream/address.ts";
import type { Peer } from "../upstream/peer.ts";
import { MAX_WEIGHT } from "../upstream/server_spec.ts";
import { isBrokenIpv4 } from "./listen_options.ts";

/** A server with more to say than its address. */
export interface ServerOptions {
  /** `"host:port"`, `"https://host:port"` or `"unix:/path"`. */
  address: string;
  /** Share of the requests, beside the others': a whole number from 0 (none) to 65535. @default {1} */
  weight?: number;
  /** TLS towards this server; options are laid over those of the pool, `false` is plain text. @default {the pool's} */
  tls?: boolean | UpstreamTlsOptions;
  /** Only used when no server that is not a backup can be. @default {false} */
  backup?: boolean;
  /** Words of your own, for balancing functions and filters. @default {[]} */
  tags?: readonly string[];
  /** How many requests may run there at once. @default {Infinity} */
  maxInFlight?: number;
}

/** How long each part of an exchange with a server may take. */
export interface TimeoutOptions {
  /** TCP connection. @default {"3s"} */
  connect?: Duration;
  /** TLS handshake after it; `fetch`, which does not tell the two apart, takes `connect` for both. @default {as `connect`} */
  tls?: Duration;
  /** From the end of the request until the head of the response. @default {"30s"} */
  response?: Duration;
  /**
   * Between two pieces of content, in either direction; what makes progress, however slowly, is never cut off.
   * Server-sent events (`text/event-stream`) may pause for as long as they like, unless it is set.
   *
   * @default {"60s"}
   */
  idle?: Duration;
  /**
   * The whole exchange, from the arrival of the request to the end of the response: filters, waiting in a queue and all
   * attempts count. An attempt gets what is left. A WebSocket only has to be open by then. Without it there is no limit.
   */
  total?: Duration;
}

/** A server, complete. */
export interface ResolvedServer {
  /** The address as configured, without its scheme. */
  readonly id: string;
  readonly peer: Peer;
  readonly weight: number;
  readonly backup: boolean;
  readonly tags: readonly string[];
  readonly maxInFlight: number;
}

/** Says what an address has to look like, with the hint that fits what was written; `undefined` when it is good. */
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

/** How long each part of an exchange may take. */
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
      if (/^(?:url|uri|target|server|addr|endpoint)$/i.test(name)) {
        return 'is not a known key; here it is called "address"';
      }
      return /^(?:host|hostname|ip|port)$/i.test(name)
        ? 'is not a known key; it belongs in "address", as "host:port"'
        : undefined;
    },
  },
);

/** An address, or an object with one. */
export const SERVER: Rule = choose((value) => typeof value === "string" ? ADDRESS : SERVER_OPTIONS);
