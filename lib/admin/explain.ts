/** Tells what would become of a request that nobody has sent. */

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

/** A request to think through. */
interface AskedRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly host: string;
  /** Address of the other end of the connection. */
  readonly client: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** By what the parts of such a request are known to be good; the description of the listener has them too. */
export const ASKED_PATTERNS = {
  method: "^[A-Z]{1,30}$",
  target: '^/[!-"$-~]*$',
  host: "^(?:[A-Za-z0-9._-]{1,250}|\\[[0-9A-Fa-f:.]{2,45}\\])(?::[0-9]{1,5})?$",
  header: "^(?![Hh][Oo][Ss][Tt]:)[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}:[\\t -~]*$",
} as const;

/** How many fields such a request may have. */
export const MAX_ASKED_HEADERS = 100;

/** What would become of it now. */
export interface Explanation {
  readonly request: {
    readonly method: string;
    readonly host: string;
    readonly target: string;
    /** Address of the client; not that of the other end where a trusted proxy speaks for it. */
    readonly client: string;
  };
  /** What the proxy would respond by itself; `null` where a server would have its turn. */
  readonly ends: { readonly status: number; readonly reason: string } | null;
  /** Name of the route; `null` where there are none, or none takes it. */
  readonly route: string | null;
  /** The path that routes and filters see. */
  readonly path: string;
  /** The policies that apply to it. */
  readonly limits: readonly ExplainedLimit[];
  /** Where it would go; more than one where chance decides. */
  readonly pools: readonly { readonly name: string; readonly share: number }[];
  /** How a server is chosen there: the name of an algorithm, or `"function"`. */
  readonly balance: string | null;
  /** What is hashed to choose it. */
  readonly key: string | null;
  /** The server, where only one can be meant. */
  readonly server: string | null;
  /** The servers of these pools. */
  readonly servers: readonly ExplainedServer[];
  /** Path and query as the server would get them. */
  readonly upstreamTarget: string | null;
  /** What cannot be known before. */
  readonly notes: readonly string[];
}

/** What a policy would say. */
interface ExplainedLimit {
  readonly policy: string;
  readonly algorithm: string;
  /** What it counts the request by; `null` where the request has nothing of the kind. */
  readonly key: string | null;
  readonly limit: number | null;
  readonly remaining: number | null;
  /** Until it has its whole limit again. */
  readonly resetMs: number | null;
  /** For how long the key is banned. */
  readonly bannedMs: number;
  readonly dryRun: boolean;
  readonly allowed: boolean;
}

/** A server that could be meant. */
interface ExplainedServer {
  readonly pool: string;
  readonly address: string;
  readonly state: ServerStateName;
  readonly weight: number;
  readonly backup: boolean;
  /** Whether the request could be sent to it now. */
  readonly eligible: boolean;
}

/** What is wrong with such a request; `null` when nothing is. */
export function findProblem({ method, target, host, client }: AskedRequest): string | null {
  if (!matches("method", method)) return '"method" must be a method in capitals, such as "GET"';
  if (!matches("target", target)) return '"target" must be a path that begins with "/", and its query';
  if (!matches("host", host)) return '"host" must be a host name or an address, with or without a port';
  if (isIP(client) === 0) return '"client" must be an address such as "192.0.2.1"';
  return null;
}

/** Reads `NAME: VALUE`; `null` when it is none. */
export function readHeader(text: string): readonly [string, string] | null {
  if (!matches("header", text)) return null;
  const colon = text.indexOf(":");
  return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()];
}

function matches(part: keyof typeof ASKED_PATTERNS, text: string): boolean {
  return new RegExp(ASKED_PATTERNS[part]).test(text);
}

/**
 * Thinks a request through with the steps that real ones take, as far as nothing is counted or sent: state, route, limits,
 * pool and server. Functions of the configuration that make state and keys are called; other filters are not.
 */
export function explain(
  runtime: ExchangeRuntime,
  config: Pick<ResolvedConfig, "routes" | "pools">,
  asked: AskedRequest,
): Explanation {
  // Neither counted nor waited for.
  const apart = { ...runtime, count: { arrived: 0 }, running: new RunningRequests() };
  const exchange = new Exchange(apart, new AskedStream(asked));
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

/** What is found out of a request. */
class Findings {
  readonly limits: ExplainedLimit[] = [];
  readonly notes: string[] = [];
  ends: Explanation["ends"] = null;
  /** Does what may end the request: the first reason counts. */
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

/** The pools that it could go to, and how likely that is. */
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

/** Servers that stand by count only while no other can be used. */
function serversOf({ name, balancer }: PoolRuntime): Found[] {
  const { pool: { servers }, panic } = balancer;
  const usable = servers.filter((server) => server.weight > 0 && isAvailable(server, panic) && !server.full);
  const first = usable.filter(({ backup }) => !backup);
  const eligible = first.length > 0 ? first : usable;
  return servers.map((server) => ({ pool: name, server, eligible: eligible.includes(server) }));
}

/** The server, where cookie, key or lack of others leave no doubt. */
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

/** Says which filters may see to it that things go another way. */
function addNotes({ filters }: Exchange, found: Findings): void {
  if (filters.requestFilter !== undefined) {
    found.notes.push("requestFilter is not asked: it may respond by itself, or change the request.");
  }
  if (filters.upstreamPeer !== undefined) {
    found.notes.push("upstreamPeer is not asked: it may send the request elsewhere.");
  }
}

const LISTENER: ListenerInfo = { scheme: "http" };

/** The client's side of a request that nobody has sent. */
class AskedStream implements ClientStream {
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
  readonly #asked: AskedRequest;
  readonly headers: HeaderFields;

  constructor(asked: AskedRequest) {
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
