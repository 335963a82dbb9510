/** Explains how the proxy would handle a request, without sending it. */

import { isIP } from "node:net";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { ProxyError } from "../core/errors.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { keyOf, readSession } from "../proxy/attempt_upstreams.ts";
import type { ClientStream, ListenerInfo, StreamExchange } from "../proxy/client_stream.ts";
import { Exchange, type ExchangeRuntime } from "../proxy/exchange.ts";
import { openExchange, targetFor } from "../proxy/handle_request.ts";
import { refuseUnrouted } from "../proxy/match_route.ts";
import { RunningRequests } from "../proxy/overload_limit.ts";
import type { PoolRuntime } from "../proxy/proxy_runtime.ts";
import { isAvailable } from "../upstream/eligibility.ts";
import type { Server } from "../upstream/server.ts";
import { stateOf } from "./server_history.ts";
import type { ServerStateName } from "./status.ts";

/** A request to explain. */
interface UnsentRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly host: string;
  /** Address of the peer of the connection. */
  readonly client: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** Patterns for the valid parts of such a request; the OpenAPI description contains them too. */
export const ASKED_PATTERNS = {
  method: "^[A-Z]{1,30}$",
  target: '^/[!-"$-~]*$',
  host: "^(?:[A-Za-z0-9._-]{1,250}|\\[[0-9A-Fa-f:.]{2,45}\\])(?::[0-9]{1,5})?$",
  header: "^(?![Hh][Oo][Ss][Tt]:)[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}:[\\t -~]*$",
} as const;

/** Maximum number of fields of such a request. */
export const MAX_ASKED_HEADERS = 100;

/** How the proxy would handle the request now. */
export interface Explanation {
  readonly request: {
    readonly method: string;
    readonly host: string;
    readonly target: string;
    /** Address of the client; behind a trusted proxy, the address that it forwards. */
    readonly client: string;
  };
  /** The proxy's own response; `null` if the request would be sent to a server. */
  readonly ends: { readonly status: number; readonly reason: string } | null;
  /** Name of the route; `null` if there are no routes, or none matches. */
  readonly route: string | null;
  /** The path that routes and filters see. */
  readonly path: string;
  /** The policies that apply to it. */
  readonly limits: readonly ExplainedLimit[];
  /** The possible pools; several if the choice is random. */
  readonly pools: readonly { readonly name: string; readonly share: number }[];
  /** How the pool chooses a server: the name of an algorithm, or `"function"`. */
  readonly balance: string | null;
  /** The key that is hashed to choose a server. */
  readonly key: string | null;
  /** The server, if only one is possible. */
  readonly server: string | null;
  /** The servers of these pools. */
  readonly servers: readonly ExplainedServer[];
  /** Path and query for the server. */
  readonly upstreamTarget: string | null;
  /** What cannot be determined in advance. */
  readonly notes: readonly string[];
}

/** The decision of a policy. */
interface ExplainedLimit {
  readonly policy: string;
  readonly algorithm: string;
  /** Key of the request; `null` if the request has none. */
  readonly key: string | null;
  readonly limit: number | null;
  readonly remaining: number | null;
  /** Milliseconds until the key has its whole limit again. */
  readonly resetMs: number | null;
  /** Milliseconds until the ban of the key ends; 0 without a ban. */
  readonly bannedMs: number;
  readonly dryRun: boolean;
  readonly allowed: boolean;
}

/** A possible server. */
interface ExplainedServer {
  readonly pool: string;
  readonly address: string;
  readonly state: ServerStateName;
  readonly weight: number;
  readonly backup: boolean;
  /** Whether the request could be sent to this server now. */
  readonly eligible: boolean;
}

/** Describes what is invalid in such a request; `null` if it is valid. */
export function findProblem({ method, target, host, client }: UnsentRequest): string | null {
  if (!matches("method", method)) return '"method" must be a method in capitals, such as "GET"';
  if (!matches("target", target)) return '"target" must be a path that begins with "/", and its query';
  if (!matches("host", host)) return '"host" must be a host name or an address, with or without a port';
  if (isIP(client) === 0) return '"client" must be an address such as "192.0.2.1"';
  return null;
}

/** Parses `NAME: VALUE`; `null` if it is invalid. */
export function readHeader(text: string): readonly [string, string] | null {
  if (!matches("header", text)) return null;
  const colon = text.indexOf(":");
  return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()];
}

function matches(part: keyof typeof ASKED_PATTERNS, text: string): boolean {
  return new RegExp(ASKED_PATTERNS[part]).test(text);
}

/**
 * Explains a request with the steps of real requests that count and send nothing: state, route, limits, pool and server.
 * Calls functions of the configuration that create state and keys, but no other filters.
 */
export function explain(
  runtime: ExchangeRuntime,
  config: Pick<ResolvedConfig, "routes" | "pools">,
  asked: UnsentRequest,
): Explanation {
  // The request is not counted, and a shutdown does not wait for it.
  const uncounted = { ...runtime, count: { arrived: 0 }, running: new RunningRequests() };
  const exchange = new Exchange(uncounted, new UnsentStream(asked));
  const found = new Findings();
  found.attempt(() => openExchange(exchange));
  const opened = found.ends === null;
  if (opened) {
    found.attempt(() => addLimits(exchange, found));
    found.attempt(() => refuseUnrouted(exchange));
  }
  const placed = opened && (runtime.routes === null || exchange.matched !== null);
  const shares = placed ? sharesOf(exchange, config) : [];
  const pools = shares.map(({ name }) => runtime.pools.get(name)!);
  if (opened) addNotes(exchange, found);
  const servers = pools.flatMap((pool) => serversOf(pool));
  const server = pools.length === 1 ? serverFor(exchange, pools[0]!, servers, found) : null;
  const upstreamTarget = placed ? found.attempt(() => targetFor(exchange) ?? exchange.target) ?? null : null;
  const { method, host, target, clientIp } = exchange;
  const balance = shares.length === 1 ? config.pools.get(shares[0]!.name)?.balancing.balance ?? null : null;
  return {
    request: { method, host, target, client: clientIp },
    ends: found.ends,
    route: exchange.route,
    path: exchange.path,
    limits: found.limits,
    pools: shares,
    balance: typeof balance === "function" ? "function" : balance,
    key: exchange.key ?? null,
    server: server?.id ?? null,
    servers: servers.map(({ pool, server, eligible }) => ({
      pool,
      address: server.id,
      state: stateOf(server),
      weight: server.effectiveWeight,
      backup: server.backup,
      eligible,
    })),
    upstreamTarget,
    notes: found.notes,
  };
}

/** Collects the results for a request. */
class Findings {
  readonly limits: ExplainedLimit[] = [];
  readonly notes: string[] = [];
  ends: Explanation["ends"] = null;
  /** Runs a step that may end the request; the first reason is kept. */
  attempt<Result>(step: () => Result): Result | undefined {
    try {
      return step();
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      this.ends ??= { status: error.status, reason: error.message };
    }
  }
}

function addLimits(exchange: Exchange, found: Findings): void {
  const { admission } = exchange;
  if (admission === null) return;
  const { keyless, statuses } = admission.limiter.foresee(exchange);
  if (keyless !== null) {
    found.limits.push(withoutKey(keyless));
    found.ends ??= {
      status: 429,
      reason: `The policy ${keyless.name} needs a key, and the request has none`,
    };
  }
  for (const { policy, key, limit, remaining, resetMs, retryAfterMs, bannedMs } of statuses) {
    const { name, algorithm, dryRun, store } = policy;
    const allowed = bannedMs === 0 && retryAfterMs === 0;
    found.limits.push({
      policy: name,
      algorithm,
      key,
      limit,
      remaining,
      resetMs,
      bannedMs,
      dryRun,
      allowed,
    });
    if (store !== null) {
      found.notes.push(
        `The policy ${name} counts in a store that machines share: its figures are of this one alone.`,
      );
    }
    if (allowed || dryRun) continue;
    const reason = bannedMs > 0 ? "has banned its key" : "has nothing left for its key";
    found.ends ??= { status: 429, reason: `The policy ${name} ${reason}` };
  }
}

function withoutKey({ name, algorithm, dryRun }: ResolvedPolicy): ExplainedLimit {
  return {
    policy: name,
    algorithm,
    key: null,
    limit: null,
    remaining: null,
    resetMs: null,
    bannedMs: 0,
    dryRun,
    allowed: false,
  };
}

/** The possible pools and their probabilities. */
function sharesOf(
  { matched, pool }: Exchange,
  { routes }: Pick<ResolvedConfig, "routes">,
): Explanation["pools"] {
  if (matched === null || matched.split === null || matched.splitKey !== null) {
    return [{ name: pool.name, share: 1 }];
  }
  const { pools } = routes.find(({ name }) => name === matched.name)!;
  const total = pools.reduce((sum, [, weight]) => sum + weight, 0);
  return pools.filter(([, weight]) => weight > 0).map(([name, weight]) => ({ name, share: weight / total }));
}

interface Found {
  readonly pool: string;
  readonly server: Server;
  readonly eligible: boolean;
}

/** The servers of a pool; backups are eligible only if no other server can be used. */
function serversOf({ name, balancer }: PoolRuntime): Found[] {
  const { pool: { servers }, panic } = balancer;
  const usable = servers.filter((server) => server.weight > 0 && isAvailable(server, panic) && !server.full);
  const first = usable.filter(({ backup }) => !backup);
  const eligible = first.length > 0 ? first : usable;
  return servers.map((server) => ({ pool: name, server, eligible: eligible.includes(server) }));
}

/** The server, if the cookie, the key, or a lack of others determines it. */
function serverFor(
  exchange: Exchange,
  pool: PoolRuntime,
  servers: readonly Found[],
  found: Findings,
): Server | null {
  const { balancer } = pool;
  readSession(exchange);
  const tied = balancer.sticky?.find(exchange);
  if (tied !== undefined) {
    found.notes.push(`The cookie ${balancer.sticky!.cookie} ties the client to this server.`);
    return tied;
  }
  if (pool.key !== null) exchange.key = found.attempt(() => keyOf(exchange));
  const eligible = servers.filter((each) => each.eligible);
  if (eligible.length === 0) return noServer(pool, found);
  if (eligible.length === 1) return eligible[0]!.server;
  return exchange.key === undefined ? null : balancer.pick(exchange) ?? null;
}

function noServer({ name, balancer: { pool: { servers } } }: PoolRuntime, found: Findings): null {
  const full = servers.some((server) => isAvailable(server) && server.full);
  const ejected = servers.some(({ ejected, enabled, draining }) => ejected && enabled && !draining);
  if (full) found.notes.push("All servers are full: the request would wait, or get 503.");
  else if (ejected) found.notes.push("No server is up: one that is ejected would be tried.");
  else found.ends ??= { status: 503, reason: `No server of the pool "${name}" can be used` };
  return null;
}

/** Adds notes on filters that may change the result. */
function addNotes({ filters }: Exchange, found: Findings): void {
  if (filters.requestFilter !== undefined) {
    found.notes.push("requestFilter is not asked: it may respond by itself, or change the request.");
  }
  if (filters.upstreamPeer !== undefined) {
    found.notes.push("upstreamPeer is not asked: it may send the request elsewhere.");
  }
}

const LISTENER: ListenerInfo = { scheme: "http" };

/** The client stream of a request that was not sent. */
class UnsentStream implements ClientStream {
  readonly listener = LISTENER;
  readonly peerPort = 0;
  readonly certificate = null;
  readonly localIp = "";
  readonly localPort = 0;
  readonly tlsVersion = null;
  readonly protocol = "HTTP/1.1";
  readonly targetBytes = null;
  readonly upgrade = false;
  readonly tunnelsRaw = false;
  readonly expectsContinue = false;
  readonly body = null;
  readonly bytesReceived = 0;
  readonly native = null;
  exchange: StreamExchange | null = null;
  readonly #asked: UnsentRequest;
  readonly headers: HeaderFields;

  constructor(asked: UnsentRequest) {
    this.#asked = asked;
    this.headers = this.outgoingHeaders();
  }

  get peerIp(): string {
    return this.#asked.client;
  }

  get method(): string {
    return this.#asked.method;
  }

  get target(): string {
    return this.#asked.target;
  }

  get receivedTarget(): string {
    return this.#asked.target;
  }

  get host(): string {
    return this.#asked.host;
  }

  outgoingHeaders(): HeaderFields {
    return new HeaderFields([["host", this.#asked.host], ...this.#asked.headers]);
  }

  respond(): void {}

  switchProtocols(): void {}

  passUpgrade(): void {}

  abandon(): void {}

  interim(): void {}
}
