/** Describes a configuration for people. */

import type { BalanceName } from "../balancer/create_algorithm.ts";
import type { ResolvedSticky } from "../balancer/sticky_sessions.ts";
import { formatByteSize, formatDuration } from "../core/units.ts";
import { describeFilters } from "../filter/filters.ts";
import type { ResolvedEjection } from "../health/ejection_options.ts";
import type { ResolvedHealthCheck } from "../health/health_check_options.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { ResolvedAccessLog } from "../observe/access_log_options.ts";
import { formatProxy } from "../transport/outbound_proxy.ts";
import type { TransportPlan } from "../transport/select_transport.ts";
import type { Timeouts } from "../transport/transport.ts";
import type { Address } from "../upstream/peer.ts";
import { describeAdmin } from "./admin_options.ts";
import type { ResolvedBalancing } from "./balancing_options.ts";
import type { ConfigProblem } from "./config_error.ts";
import {
  describeCounts,
  describeKey,
  describeLimit,
  describeRoutes,
  matchesEverything,
} from "./describe_limits.ts";
import { describeListen, formatListen, type ResolvedListen } from "./listen_options.ts";
import type { ResolvedPool } from "./pool_options.ts";
import type { ResolvedOverload, ResolvedRollback, ResolvedTracing } from "./process_options.ts";
import type { ResolvedConfig } from "./proxy_config.ts";
import { describeRetries } from "./retry_options.ts";
import type { ResolvedServer } from "./server_options.ts";

/**
 * Describes a resolved configuration for people, with every default filled in and the limits in plain words.
 *
 * Certificates and keys are named, not shown.
 */
export function describeConfig(config: ResolvedConfig): string {
  const { listen, pools, defaultPool, limiter, filterSets, routes, rollback, workers } = config;
  const filters = describeFilters(filterSets);
  return [
    ...listen.map((place) => `listen    ${describeListen(place)}`),
    ...Array.from(
      pools.values(),
      (pool) => describePool(pool, pools.size > 1 && routes.length === 0 && pool.name === defaultPool),
    ),
    ...(limiter.length === 0 ? ["limits    none"] : [
      ...limiter.map(describePolicy),
      ...describeCounts(limiter).map((line, i) => i === 0 ? `counts    ${line}` : line),
    ]),
    ...describeRoutes(routes, config),
    `filters   ${filters.length === 0 ? "none" : filters.join(", ")}`,
    `clients   ${describeTrust(config)}`,
    ...(config.overload === null ? [] : [`overload  ${describeOverload(config.overload)}`]),
    ...(config.tracing === null ? [] : [`traces    ${describeTracing(config.tracing)}`]),
    ...(config.accessLog === null ? [] : [`requests  ${describeAccessLog(config.accessLog)}`]),
    ...(config.metrics ? [] : ["metrics   only those that cost a request nothing"]),
    ...(config.admin === null ? [] : [`admin     ${describeAdmin(config.admin)}`]),
    ...(workers === 1 ? [] : [`workers   ${workers} processes that listen at the same addresses`]),
    ...(rollback === null ? [] : [`reload    ${describeRollback(rollback)}`]),
    `shutdown  ${describeShutdown(config)}`,
  ].join("\n");
}

/** Lists parts of a configuration that have no effect, or only an unwanted one. */
export function findDeadEnds({ listen, pools, routes }: ResolvedConfig): readonly ConfigProblem[] {
  const all = routes.findIndex(({ match }) => matchesEverything(match));
  const behind = all < 0 ? [] : routes.slice(all + 1);
  return [
    ...behind.map(({ name }, i) => ({
      path: `routes[${all + 1 + i}]`,
      message: `(${name}) is never reached: routes[${all}] (${
        routes[all]!.name
      }) matches every request; put it in front of that`,
    })),
    ...Array.from(pools.values()).flatMap((pool) =>
      pool.servers.flatMap(({ id, peer: { address } }) => {
        const place = listen.find((each) => isAt(each, address));
        if (place === undefined) return [];
        const message = `server ${id} of pool ${pool.name} is this proxy itself, which listens at ${
          formatListen(place)
        }: its requests come back`;
        return [{ path: "", message }];
      })
    ),
  ];
}

function describeShutdown({ gracePeriodMs, webSocketGraceMs, shutdownDelayMs }: ResolvedConfig): string {
  const delay = shutdownDelayMs === 0 ? "" : `takes requests for ${formatDuration(shutdownDelayMs)} more; `;
  return `${delay}running requests may take ${formatDuration(gracePeriodMs)} to finish, WebSockets ${
    formatDuration(webSocketGraceMs)
  }`;
}

function describeRollback({ errorRate, withinMs, minRequests }: ResolvedRollback): string {
  const share = `${Math.round(errorRate * 1000) / 10} % of its requests`;
  return `back to the configuration before when more than ${share} (at least ${minRequests}) fail within ${
    formatDuration(withinMs)
  }`;
}

function describeTracing({ sample, continue: trust }: ResolvedTracing): string {
  const own = sample === 0 ? "no request begins one" : `${sample * 100} % of the requests begin one`;
  const others = trust === "nobody" ? "those of clients are ignored" : `those of ${trust} are continued`;
  return `${own}, ${others}`;
}

function describeAccessLog(log: ResolvedAccessLog | false): string {
  if (log === false) return "are not logged";
  const { format, to, sample, when, fields } = log;
  const how = typeof format === "function" ? "by a function" : `as ${format}`;
  const file = typeof to === "string" ? to : to.path;
  const rotation = typeof to === "string" || to.maxBytes === Infinity
    ? ""
    : `, ${to.keep} former ones of ${formatByteSize(to.maxBytes)} are kept`;
  const share = sample === 1 ? "" : `; ${sample * 100} % of them`;
  return `are logged ${how} to ${file}${rotation}${
    fields === null ? "" : `, with ${fields.join(" ")}`
  }${share}${when === null ? "" : "; a function decides about each"}`;
}

function describeOverload(
  { maxInFlight, queue: { size, timeoutMs }, maxLoopDelayMs }: ResolvedOverload,
): string {
  const waiting = size === 0 ? "more are refused" : `${size} more may wait for ${formatDuration(timeoutMs)}`;
  return [
    ...(maxInFlight === Infinity
      ? []
      : [`at most ${counted(maxInFlight, "request", "requests")} at once, ${waiting}`]),
    ...(maxLoopDelayMs === Infinity
      ? []
      : [`refuses while its event loop is late by ${formatDuration(maxLoopDelayMs)}`]),
  ].join("; ");
}

function describeTrust(
  { trustedProxies, forwarded: { xForwarded, forwarded, via, cdnLoop } }: ResolvedConfig,
): string {
  const who = trustedProxies === null
    ? "by the address of the connection"
    : `by ${trustedProxies.field === "forwarded" ? "Forwarded" : "X-Forwarded-For"} from ${
      trustedProxies.entries.join(", ")
    }, others by the address of the connection`;
  const fields = [
    ...(xForwarded ? ["X-Forwarded-*"] : []),
    ...(forwarded ? ["Forwarded"] : []),
    ...(via ? ["Via"] : []),
  ];
  const sent = fields.length === 0 ? "no fields about them" : fields.join(", ");
  return `${who}; servers get ${sent}${cdnLoop ? "" : ", and loops are not found"}`;
}

function describePool(pool: ResolvedPool, isDefault: boolean): string {
  const { name, servers, balancing, sticky, timeouts, transport, way, bufferBytes } = pool;
  return [
    `pool      ${name}${isDefault ? " (unless a filter chooses another)" : ""}`,
    ...servers.map((server) => `  server    ${describeServer(server)}`),
    ...describeBalancing(balancing).map((line) => `  ${line}`),
    ...(sticky === null ? [] : [`  sticky    ${describeSticky(sticky)}`]),
    `  timeouts  ${describeTimeouts(timeouts)}`,
    `  retries   ${describeRetries(pool.retries)}`,
    ...(bufferBytes === 0 ? [] : [
      `  requests  wait until their content is complete, or ${formatByteSize(bufferBytes)} of it has arrived`,
    ]),
    `  transport ${describeTransport(transport, way)}`,
    `  websocket ${describeWebSocket(pool)}`,
  ].join("\n");
}

function describeWebSocket({ webSocket, transport }: ResolvedPool): string {
  if (webSocket === null) return "not forwarded";
  if (transport.kind === "fetch" && transport.proxy !== null) return "not forwarded, since there is a proxy";
  const { idleTimeoutMs, pingIntervalMs, maxMessageBytes, maxBufferedBytes } = webSocket;
  const idle = idleTimeoutMs === Infinity ? "" : `idle ${formatDuration(idleTimeoutMs)}, `;
  return `messages up to ${formatByteSize(maxMessageBytes)}, ${
    formatByteSize(maxBufferedBytes)
  } are buffered; ${idle}ping every ${formatDuration(pingIntervalMs)}`;
}

function describeServer(server: ResolvedServer): string {
  const { id, peer: { tls }, weight, backup, tags, maxInFlight } = server;
  const parts = [id];
  if (backup) parts.push("backup");
  if (weight !== 1) parts.push(`weight ${weight}`);
  if (maxInFlight !== Infinity) parts.push(`at most ${counted(maxInFlight, "request", "requests")} at once`);
  if (tags.length > 0) parts.push(`tags ${tags.join(" ")}`);
  if (tls === null) parts.push("plain HTTP");
  else {
    parts.push(`TLS as ${tls.serverName}`);
    if (tls.caCerts.length > 0) {
      parts.push(`${counted(tls.caCerts.length, "authority", "authorities")} of its own`);
    }
    if (tls.cert !== undefined) parts.push("client certificate");
    if (tls.verifyHostname === false) parts.push("certificates for any name");
  }
  return parts.join(", ");
}

/** Whether an address leads to a listener, as far as names show. */
function isAt({ hostname, port, unix }: ResolvedListen, address: Address): boolean {
  if (address.kind === "unix") return unix === address.path;
  if (unix !== undefined || port !== address.port) return false;
  const loopback = LOOPBACK.test(address.hostname);
  return hostname === address.hostname ||
    (loopback && (hostname === "0.0.0.0" || hostname === "::" || LOOPBACK.test(hostname)));
}

const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|::1)$/i;

function describeSticky({ cookie, maxAgeSeconds, keepWhileDraining }: ResolvedSticky): string {
  const long = maxAgeSeconds === null
    ? "until the browser closes"
    : `for ${formatDuration(maxAgeSeconds * 1000)}`;
  return `clients stay with their server by the cookie ${cookie}, ${long}${
    keepWhileDraining ? ", also while it drains" : ""
  }`;
}

function describeTimeouts({ connectMs, tlsMs, responseMs, idleMs, totalMs }: Timeouts): string {
  const total = totalMs === Infinity ? "" : `, total ${formatDuration(totalMs)}`;
  const tls = tlsMs === connectMs ? "" : `TLS ${formatDuration(tlsMs)}, `;
  return `connect ${formatDuration(connectMs)}, ${tls}response ${formatDuration(responseMs)}, ` +
    `idle ${formatDuration(idleMs)}${total}`;
}

function describeTransport(plan: TransportPlan, { sendProxyProtocol }: ResolvedPool["way"]): string {
  const { maxIdle, idleTimeoutMs } = plan.connections;
  const kept = `keeps ${maxIdle === Infinity ? "all" : maxIdle} idle connections a server for ${
    formatDuration(idleTimeoutMs)
  }`;
  if (plan.kind === "fetch") {
    const way = plan.proxy === null ? "" : ` through ${formatProxy(plan.proxy)}`;
    return `fetch, ${plan.protocol === "h2" ? "HTTP/2" : "HTTP/1.1"}${way}; ${kept}`;
  }
  const header = sendProxyProtocol === undefined
    ? ""
    : ` behind a PROXY header, version ${sendProxyProtocol}`;
  if (plan.kind === "http1") return `http1${header}; ${kept}`;
  return `h2${header}, at most ${plan.connections.maxStreams} requests a connection; ${kept}`;
}

function describePolicy(policy: ResolvedPolicy): string {
  return [`limit     ${policy.name}`, ...describeLimit(policy).map((line) => `  ${line}`)].join("\n");
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

const WAYS: Readonly<Record<BalanceName, string>> = {
  "round-robin": "round robin, by weight",
  "random": "at random, by weight",
  "least-connections": "to the server with the fewest requests in flight, by weight",
  "p2c": "to the less busy of two servers drawn by weight",
  "ewma": "to the faster of two servers drawn by weight",
  "consistent-hash": "by consistent hash",
  "fnv-hash": "by hash",
  "first": "to the first server that can take it",
};

/** Describes discovery, choice and checks of servers; the first word of each line is its topic. */
function describeBalancing(balancing: ResolvedBalancing): readonly string[] {
  const { discovery, slowStart, panicThreshold, healthCheck, ejection } = balancing;
  const lines = [
    `balance   ${describeWay(balancing)}`,
    `checks    ${healthCheck === null ? "none: every server counts as healthy" : describeCheck(healthCheck)}`,
    `ejection  ${ejection === null ? "never" : describeEjection(ejection)}`,
  ];
  if (discovery !== null) {
    const { source, intervalMs, timeoutMs } = discovery;
    const pace = `every ${formatDuration(intervalMs)}, each time within ${formatDuration(timeoutMs)}`;
    lines.unshift(`servers   found ${source}, ${pace}`);
  }
  if (slowStart !== null) {
    const { durationMs, floor } = slowStart;
    const share = `begin with ${percent(floor)} of their share and have all of it after`;
    lines.push(`start     servers that were added or recover ${share} ${formatDuration(durationMs)}`);
  }
  if (panicThreshold > 0) {
    lines.push(`panic     all servers are used when less than ${percent(panicThreshold)} of them are up`);
  }
  return [...lines, ...describeRoom(balancing)];
}

function describeWay({ balance, key, loadFactor }: ResolvedBalancing): string {
  if (typeof balance === "function") return "by balance()";
  const hashed = key === null ? "" : ` of the ${describeKey(key.spec)}; without it round robin`;
  const bound = loadFactor === Infinity
    ? ""
    : `; a server with more than ${loadFactor} times its share passes requests on`;
  return `${WAYS[balance]}${hashed}${bound}`;
}

function describeCheck(check: ResolvedHealthCheck): string {
  const { intervalMs, unhealthyIntervalMs, timeoutMs, rise, fall, initial } = check;
  const unhealthy = unhealthyIntervalMs === intervalMs
    ? ""
    : ` (${formatDuration(unhealthyIntervalMs)} while unhealthy)`;
  const first = initial === "checking" ? "" : `; counted as ${initial} before the first one`;
  return `${describeTarget(check)} every ${formatDuration(intervalMs)}${unhealthy}, timeout ${
    formatDuration(timeoutMs)
  }; unhealthy after ${counted(fall, "failure", "failures")}, healthy after ${
    counted(rise, "success", "successes")
  }${first}`;
}

function describeTarget({ subject, port }: ResolvedHealthCheck): string {
  return port === null ? subject : `${subject} to port ${port}`;
}

function describeEjection(ejection: ResolvedEjection): string {
  const { consecutiveFailures, failureRate, minRequests, windowMs, baseMs, maxMs, maxEjectedPercent } =
    ejection;
  const reasons: string[] = [];
  if (consecutiveFailures !== Infinity) {
    reasons.push(`after ${counted(consecutiveFailures, "failure", "failures")} in a row`);
  }
  if (failureRate <= 1) {
    reasons.push(
      `when ${percent(failureRate)} of at least ${minRequests} requests in ${formatDuration(windowMs)} fail`,
    );
  }
  if (reasons.length === 0) return "never";
  const time = `for ${formatDuration(baseMs)}, longer each time up to ${formatDuration(maxMs)}`;
  return `${reasons.join(" or ")}, ${time}; at most ${maxEjectedPercent}% of the servers, never the last one`;
}

function describeRoom({ maxInFlight, queue }: ResolvedBalancing): readonly string[] {
  const lines = maxInFlight === Infinity
    ? []
    : [`room      at most ${counted(maxInFlight, "request", "requests")} at all servers together`];
  if (queue !== null) {
    const wait = `up to ${counted(queue.size, "request waits", "requests wait")} for ${
      formatDuration(queue.timeoutMs)
    }`;
    lines.push(`queue     ${wait} while servers are full; others are refused`);
  }
  return lines;
}

function percent(share: number): string {
  return `${Math.round(share * 1000) / 10}%`;
}
