/** Every metric of a proxy; `docs/metrics.md` has them as a table. */

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
  received: counter("requests_received", "Requests that have arrived."),
  requests: counter(
    "requests",
    "Requests that are over: code 499 where the client had gone; source tells who made the response (upstream, limiter, filter or proxy).",
    "route",
    "method",
    "code",
    "source",
  ),
  requestDuration: withExemplars(
    histogram("request_duration", "From the arrival of a request to the last byte of its response.", "route"),
  ),
  requestBytes: counter("request_bytes", "Bytes of content that have come from clients.", "route"),
  responseBytes: counter("response_bytes", "Bytes of content that were sent to clients.", "route"),
  inFlight: gauge("requests_in_flight", "Requests that are not over."),
  overloadQueue: gauge(
    "overload_queue_length",
    "Requests that wait because overload.maxInFlight others run.",
  ),
  webSocketsOpen: gauge("websockets_open", "WebSockets that are open."),
  webSockets: counter("websockets", "WebSockets that were opened."),
  retries: counter(
    "retries",
    "Requests that were sent again: succeeded, failed, or not_sent because the budget was used up.",
    "pool",
    "outcome",
  ),
  upstreamState: gauge(
    "upstream_state",
    "1 for the state that the server is in, 0 for the others.",
    ...SERVER,
    "state",
  ),
  upstreamInFlight: gauge("upstream_in_flight", "Requests that run at the server.", ...SERVER),
  upstreamWeight: gauge(
    "upstream_weight",
    "Share of the requests that the server gets now, beside the others'.",
    ...SERVER,
  ),
  upstreamRequests: counter("upstream_requests", "Requests that have ended at the server.", ...SERVER),
  upstreamFailures: counter("upstream_failures", "Requests that the server has failed.", ...SERVER),
  upstreamResponses: counter(
    "upstream_responses",
    "Responses of the server by the class of their status (2xx).",
    ...SERVER,
    "code",
  ),
  upstreamErrors: counter(
    "upstream_errors",
    "Requests that got no response of the server.",
    ...SERVER,
    "reason",
  ),
  upstreamDuration: histogram(
    "upstream_duration",
    "From the moment that a request was sent to the server until the head of its response came.",
    ...SERVER,
  ),
  connectDuration: histogram(
    "upstream_connect_duration",
    "How long it took to connect to the server, TLS included.",
    ...SERVER,
  ),
  connectionsOpened: counter(
    "upstream_connections_opened",
    "Connections to the server that were opened.",
    ...SERVER,
  ),
  connectionsReused: counter(
    "upstream_connections_reused",
    "Requests that were sent on a connection which had been kept.",
    ...SERVER,
  ),
  connectionsClosed: counter(
    "upstream_connections_closed",
    "Connections to the server that were closed, by whom or why.",
    ...SERVER,
    "reason",
  ),
  ejections: counter(
    "upstream_ejections",
    "How often the server was taken out because requests failed.",
    ...SERVER,
  ),
  healthChanges: counter(
    "upstream_health_changes",
    "How often checks found that the server had come up or gone down.",
    ...SERVER,
    "to",
  ),
  queueLength: gauge("upstream_queue_length", "Requests that wait for room at a server.", "pool"),
  queueDuration: histogram(
    "upstream_queue_duration",
    "How long requests waited for room at a server, those that waited in vain too.",
    "pool",
  ),
  refusals: counter(
    "upstream_refusals",
    "Requests that got no server, by reason: none_eligible, queue_full, queue_timeout or cancelled.",
    "pool",
    "reason",
  ),
  panic: gauge("panic", "1 while so few servers of the pool are up that all are used.", "pool"),
  discoveryFailures: counter(
    "discovery_failures",
    "Searches for servers that failed or found nothing.",
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
    "Windows in which keys did not fit the table and took the places of others.",
    "policy",
  ),
  tableKeys: gauge(
    "ratelimit_table_keys",
    "Keys that the table of counts holds now; an estimate where it is large.",
  ),
  tableCapacity: gauge("ratelimit_table_capacity", "Keys that the table of counts is made for."),
  storeDuration: histogram(
    "ratelimit_store_duration",
    "How long the store of several machines took to decide.",
  ),
  storeErrors: counter("ratelimit_store_errors", "Decisions that had to be made without the store."),
  connectionsAccepted: counter("listener_connections_accepted", "Connections of clients.", "listener"),
  connectionsRefused: counter(
    "listener_connections_refused",
    "Connections of clients that were refused, or given up for others.",
    "listener",
    "reason",
  ),
  handshakeFailures: counter(
    "listener_handshake_failures",
    "TLS handshakes that clients have not done.",
    "listener",
  ),
  connectionsOpen: gauge("listener_connections", "Connections of clients that are open.", "listener"),
  draining: gauge(
    "config_draining",
    "Configurations that were replaced and still serve their last requests.",
  ),
  generation: gauge("config_generation", "How many configurations have been used, this one counted."),
  workers: gauge("workers", "Workers that take requests."),
  workerRestarts: counter(
    "worker_restarts",
    "Workers that were started in place of one that had ended.",
  ),
  workerRequests: counter("worker_requests", "Requests that the worker has served.", "worker"),
  workerInFlight: gauge("worker_requests_in_flight", "Requests of the worker that are not over.", "worker"),
  workerMemory: gauge("worker_resident_memory_bytes", "Memory of the worker.", "worker"),
  workerCpu: family(
    "counter",
    "lbproxy_worker_cpu_seconds_total",
    "Processor time of the worker.",
    "worker",
  ),
  workerLoopDelay: histogram(
    "worker_event_loop_delay",
    "By how much timers of the worker were late.",
    "worker",
  ),
  memory: gauge("process_resident_memory_bytes", "Memory of the process."),
  cpu: family("counter", "lbproxy_process_cpu_seconds_total", "Processor time of the process."),
  startTime: gauge("process_start_time_seconds", "When the proxy was started, in seconds since 1970."),
  loopDelay: histogram("event_loop_delay", "By how much timers were late, looked at ten times a second."),
  certificateEnd: gauge(
    "certificate_not_after_seconds",
    "Until when the certificate is good, in seconds since 1970; not of those that a function finds.",
    "listener",
    "certificate",
  ),
  build: gauge("build_info", "1; the labels tell what runs.", "version", "deno"),
} as const satisfies Readonly<Record<string, MetricFamily>>;
