/** All metrics of a proxy; `docs/metrics.md` lists them in a table. */

import type { MetricFamily } from "./series.ts";

function family<Type extends MetricFamily["type"]>(
  type: Type,
  name: string,
  help: string,
  ...labels: readonly string[]
): MetricFamily & { readonly type: Type } {
  return Object.freeze({ name, help, type, labels: Object.freeze(labels) });
}

const counter = (name: string, help: string, ...labels: readonly string[]) =>
  family("counter", `lbproxy_${name}_total`, help, ...labels);
const gauge = (name: string, help: string, ...labels: readonly string[]) =>
  family("gauge", `lbproxy_${name}`, help, ...labels);
const histogram = (name: string, help: string, ...labels: readonly string[]) =>
  family("histogram", `lbproxy_${name}_seconds`, help, ...labels);

function withExemplars(family: MetricFamily): MetricFamily {
  return Object.freeze({ ...family, exemplars: true });
}

const SERVER = ["pool", "server"] as const;

/** All metrics, in the order in which they are exposed. */
export const METRICS = {
  received: counter("requests_received", "Requests received."),
  requests: counter(
    "requests",
    "Finished requests. Code 499: the client closed the connection first. Source: where the response comes from (upstream, limiter, filter or proxy).",
    "route",
    "method",
    "code",
    "source",
  ),
  requestDuration: withExemplars(
    histogram(
      "request_duration",
      "Time from the arrival of a request to the last byte of its response.",
      "route",
    ),
  ),
  requestBytes: counter("request_bytes", "Bytes of content received from clients.", "route"),
  responseBytes: counter("response_bytes", "Bytes of content sent to clients.", "route"),
  inFlight: gauge("requests_in_flight", "Requests that run now."),
  overloadQueue: gauge(
    "overload_queue_length",
    "Requests that wait because overload.maxInFlight is reached.",
  ),
  webSocketsOpen: gauge("websockets_open", "Open WebSockets."),
  webSockets: counter("websockets", "WebSockets opened."),
  retries: counter(
    "retries",
    "Retries, by outcome: succeeded, failed, or not_sent because the budget was used up.",
    "pool",
    "outcome",
  ),
  upstreamState: gauge(
    "upstream_state",
    "1 for the current state of the server, 0 for the other states.",
    ...SERVER,
    "state",
  ),
  upstreamInFlight: gauge("upstream_in_flight", "Requests that run at the server now.", ...SERVER),
  upstreamWeight: gauge(
    "upstream_weight",
    "Current weight of the server: its share of the requests in relation to the other servers.",
    ...SERVER,
  ),
  upstreamRequests: counter("upstream_requests", "Finished requests of the server.", ...SERVER),
  upstreamFailures: counter("upstream_failures", "Requests that failed at the server.", ...SERVER),
  upstreamResponses: counter(
    "upstream_responses",
    "Responses of the server, by the class of their status (2xx).",
    ...SERVER,
    "code",
  ),
  upstreamErrors: counter(
    "upstream_errors",
    "Requests that got no response from the server, by reason.",
    ...SERVER,
    "reason",
  ),
  upstreamDuration: histogram(
    "upstream_duration",
    "Time from sending a request to the server until the head of its response arrives.",
    ...SERVER,
  ),
  connectDuration: histogram(
    "upstream_connect_duration",
    "Time to connect to the server, with the TLS handshake.",
    ...SERVER,
  ),
  connectionsOpened: counter(
    "upstream_connections_opened",
    "Connections opened to the server.",
    ...SERVER,
  ),
  connectionsReused: counter(
    "upstream_connections_reused",
    "Requests sent on a connection that was kept open.",
    ...SERVER,
  ),
  connectionsClosed: counter(
    "upstream_connections_closed",
    "Connections to the server that were closed, by reason.",
    ...SERVER,
    "reason",
  ),
  ejections: counter(
    "upstream_ejections",
    "Ejections of the server because requests failed.",
    ...SERVER,
  ),
  healthChanges: counter(
    "upstream_health_changes",
    "Changes of the server's health found by health checks.",
    ...SERVER,
    "to",
  ),
  queueLength: gauge("upstream_queue_length", "Requests in the queue of the pool.", "pool"),
  queueDuration: histogram(
    "upstream_queue_duration",
    "Time that requests waited in the queue, also those that were refused then.",
    "pool",
  ),
  refusals: counter(
    "upstream_refusals",
    "Requests that no server could take, by reason: none_eligible, queue_full, queue_timeout or cancelled.",
    "pool",
    "reason",
  ),
  panic: gauge(
    "panic",
    "1 while all servers of the pool are used because too few are up (panicThreshold).",
    "pool",
  ),
  discoveryFailures: counter(
    "discovery_failures",
    "Discoveries of servers that failed or found none.",
    "pool",
  ),
  decisions: counter(
    "ratelimit_decisions",
    "Decisions of the policy: allowed, refused, would_refuse (dry run), banned, missing_key or store_error.",
    "policy",
    "decision",
  ),
  overflows: counter(
    "ratelimit_overflows",
    "Windows in which the table was full and new keys replaced others.",
    "policy",
  ),
  tableKeys: gauge(
    "ratelimit_table_keys",
    "Keys in the table of counts now; an estimate if the table is large.",
  ),
  tableCapacity: gauge("ratelimit_table_capacity", "Keys that fit into the table of counts."),
  storeDuration: histogram(
    "ratelimit_store_duration",
    "Time of the shared store (Redis) for a decision.",
  ),
  storeErrors: counter(
    "ratelimit_store_errors",
    "Decisions made without the shared store because it failed.",
  ),
  connectionsAccepted: counter("listener_connections_accepted", "Client connections accepted.", "listener"),
  connectionsRefused: counter(
    "listener_connections_refused",
    "Client connections that were refused, or closed for new ones, by reason.",
    "listener",
    "reason",
  ),
  handshakeFailures: counter(
    "listener_handshake_failures",
    "TLS handshakes that failed.",
    "listener",
  ),
  connectionsOpen: gauge("listener_connections", "Open client connections.", "listener"),
  draining: gauge(
    "config_draining",
    "Replaced configurations that still serve their last requests.",
  ),
  generation: gauge("config_generation", "Number of the current configuration; the first one is 1."),
  workers: gauge("workers", "Workers that serve requests."),
  workerRestarts: counter(
    "worker_restarts",
    "Workers started in place of one that ended.",
  ),
  workerRequests: counter("worker_requests", "Requests served by the worker.", "worker"),
  workerInFlight: gauge("worker_requests_in_flight", "Requests that run in the worker now.", "worker"),
  workerMemory: gauge("worker_resident_memory_bytes", "Resident memory of the worker.", "worker"),
  workerCpu: family(
    "counter",
    "lbproxy_worker_cpu_seconds_total",
    "CPU time of the worker.",
    "worker",
  ),
  workerLoopDelay: histogram(
    "worker_event_loop_delay",
    "Delay of the event loop of the worker.",
    "worker",
  ),
  memory: gauge("process_resident_memory_bytes", "Resident memory of the process."),
  cpu: family("counter", "lbproxy_process_cpu_seconds_total", "CPU time of the process."),
  startTime: gauge("process_start_time_seconds", "Start of the proxy, in seconds since 1970."),
  loopDelay: histogram("event_loop_delay", "Delay of the event loop, measured ten times a second."),
  certificateEnd: gauge(
    "certificate_not_after_seconds",
    "When the certificate expires, in seconds since 1970; not for certificates from a function.",
    "listener",
    "certificate",
  ),
  build: gauge("build_info", "Always 1; the labels are the versions.", "version", "deno"),
} as const satisfies Readonly<Record<string, MetricFamily>>;
