/** The message of an event, and its level. */

import type { Clock } from "../core/clock.ts";
import { formatDuration } from "../core/units.ts";
import type { AccessEntry, Observer } from "./observer.ts";
import type { LogLevel, ProxyEvent } from "./events.ts";

/** The level of an event; failures of clients are `debug`. */
export function eventLevel(event: ProxyEvent): LogLevel {
  switch (event.kind) {
    case "listening":
    case "admin_listening":
    case "worker_started":
    case "shutdown":
      return "info";
    case "admin_change":
      return event.error === null ? "info" : "warn";
    case "admin_refusal":
      return "warn";
    case "health":
      return event.healthy ? "info" : "warn";
    case "ejection":
      return event.ejected ? "warn" : "info";
    case "panic":
      return event.panic ? "error" : "info";
    case "discovery":
      return event.state === "failed" ? "error" : "info";
    case "client_certificate":
      return "warn";
    case "certificate_expiry":
      return event.ended ? "error" : "warn";
    case "access_log":
    case "certificate":
      return event.problem === null ? "info" : "error";
    case "request_failure":
      return event.source === "client" ? "debug" : "error";
    case "reload":
      return RELOAD_LEVELS[event.outcome];
    case "request_log":
      return event.level;
    case "limiter_overflow":
    case "unread_export":
    case "config_warning":
      return "warn";
    case "limiter_store":
      return !event.available ? "error" : event.dropped > 0 ? "warn" : "info";
    case "listener_recovered":
      return "info";
    case "worker_ended":
    case "health_check_error":
    case "listener_error":
    case "callback_error":
      return "error";
    case "stopped":
      return event.abandonedRequests > 0 ? "warn" : "info";
  }
}

const RELOAD_LEVELS = { applied: "info", rejected: "error", rolled_back: "warn" } as const;

/** Formats an event as one sentence; text from outside is not escaped. */
export function eventMessage(event: ProxyEvent): string {
  switch (event.kind) {
    case "listening":
      return `Listening on ${event.addresses.join(", ")} (process ${event.pid})`;
    case "unread_export":
      return unreadMessage(event.name);
    case "config_warning":
      return `The configuration: ${event.message}`;
    case "health":
      return healthMessage(event);
    case "health_check_error":
      return `Cannot check server ${event.server} of pool ${event.pool}: ${event.message}; its health stays as it was`;
    case "ejection":
      return ejectionMessage(event);
    case "panic":
      return panicMessage(event);
    case "discovery":
      return discoveryMessage(event);
    case "request_failure":
      return failureMessage(event);
    case "reload":
      return reloadMessage(event);
    case "request_log":
      return event.message;
    case "limiter_overflow":
      return `Limiter ${event.policy} holds ${event.capacity} keys and is full: further keys evict those that have used least`;
    case "limiter_store":
      return event.available
        ? `Limits are counted in ${event.address}${
          event.dropped > 0 ? `; ${event.dropped} corrections of counts were lost: too many to keep` : ""
        }`
        : `Cannot count limits in ${event.address}: ${event.reason}`;
    case "listener_error":
      return listenerErrorMessage(event);
    case "listener_recovered":
      return `Accepting connections on ${event.address} again after ${formatDuration(event.afterMs)}`;
    case "certificate":
      return certificateMessage(event);
    case "certificate_expiry": {
      const { address, names, notAfter, daysLeft, ended } = event;
      const whose = names.length === 0 ? "" : ` of ${names.join(" ")}`;
      const when = ended
        ? "has expired"
        : daysLeft === 0
        ? "expires today"
        : `expires in ${counted(daysLeft, "day")}`;
      return `Certificate${whose} on ${address} ${when}: ${notAfter}`;
    }
    case "client_certificate": {
      const { address, client, subject, reason, count } = event;
      const more = count === 1 ? "" : ` (${count - 1} more before it)`;
      return `Refused client ${client}${
        subject === null ? "" : `, ${subject}`
      } on ${address}: ${reason}${more}`;
    }
    case "admin_listening":
      return `Admin page at ${pageAddress(event.address, event.tls)}`;
    case "admin_change": {
      const { who, action, subject, error } = event;
      return error === null
        ? `${who}: ${action} ${subject}`
        : `${who}: ${action} ${subject} failed: ${error}`;
    }
    case "admin_refusal":
      return `Admin listener refused ${counted(event.count, "request")} of ${
        event.client || "a local client"
      }: ${event.reason}`;
    case "access_log":
      return event.problem === null
        ? `Requests are logged to ${event.path} again`
        : `Cannot log requests to ${event.path}: ${event.problem}; their lines are lost`;
    case "worker_started":
      return `Worker ${event.worker} listens again, as process ${event.pid}`;
    case "worker_ended": {
      const when = event.restartInMs === 0 ? "now" : `in ${formatDuration(event.restartInMs)}`;
      return `Worker ${event.worker} restarts ${when}: ${event.reason}`;
    }
    case "callback_error":
      return `${event.name} threw: ${event.message}`;
    case "shutdown":
      return shutdownMessage(event);
    case "stopped":
      return stoppedMessage(event);
  }
}

/** The message about an export that is not a key of a configuration. */
export function unreadMessage(name: string): string {
  return `The export "${name}" is not used: it is not a configuration key`;
}

function pageAddress(address: string, tls: boolean): string {
  return address.startsWith("unix:") ? address : `http${tls ? "s" : ""}://${address}/`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function healthMessage(event: ProxyEvent<"health">): string {
  const { pool, server, healthy, reason, healthyServers, totalServers } = event;
  const state = healthy ? "healthy" : reason === null ? "unhealthy" : `unhealthy: ${reason}`;
  return `Server ${server} of pool ${pool} is ${state} (${healthyServers} of ${totalServers} healthy)`;
}

function ejectionMessage(event: ProxyEvent<"ejection">): string {
  const { pool, server, ejected, reason, availableServers, totalServers } = event;
  const change = ejected ? `is ejected: ${reason}` : "is available again after its ejection";
  return `Server ${server} of pool ${pool} ${change} (${availableServers} of ${totalServers} available)`;
}

function panicMessage({ pool, panic, availableServers, totalServers }: ProxyEvent<"panic">): string {
  const up = `${availableServers} of ${totalServers} servers up`;
  return panic
    ? `Pool ${pool} panics with ${up}: requests go to all of them`
    : `Pool ${pool} panics no longer, with ${up}`;
}

function discoveryMessage(
  { pool, state, message, added, removed, totalServers }: ProxyEvent<"discovery">,
): string {
  const servers = counted(totalServers, "server");
  if (state === "failed") return `Cannot find servers for pool ${pool}: ${message}; it keeps its ${servers}`;
  if (state === "recovered") return `Servers for pool ${pool} are found again (${servers})`;
  const changes = [...added.map((id) => `+${id}`), ...removed.map((id) => `-${id}`)].join(" ");
  return `Pool ${pool} has ${servers} now: ${changes}`;
}

function certificateMessage({ address, names, problem }: ProxyEvent<"certificate">): string {
  const whose = names.length === 0 ? "" : ` of ${names.join(" ")}`;
  return problem === null
    ? `New certificate${whose} on ${address}`
    : `Cannot use the new certificate${whose} on ${address}: ${problem}; the old one stays`;
}

function failureMessage(event: ProxyEvent<"request_failure">): string {
  const { method, target, status, code, message, server } = event;
  const place = server === null ? "" : ` at ${server}`;
  return `${method} ${target} failed${place} with ${status} ${code}: ${message}`;
}

function listenerErrorMessage(event: ProxyEvent<"listener_error">): string {
  const { address, message, openDescriptors, runningRequests } = event;
  const running = counted(runningRequests, "running request");
  const held = openDescriptors === null
    ? running
    : `${counted(openDescriptors, "open descriptor")}, ${running}`;
  return `Cannot accept connections on ${address}: ${message} (${held}); trying again until it can`;
}

function shutdownMessage(event: ProxyEvent<"shutdown">): string {
  const { reason, runningRequests, delayMs, gracePeriodMs } = event;
  if (delayMs > 0) {
    return `Stopping (${reason}): takes requests for ${formatDuration(delayMs)}, which may take ${
      formatDuration(gracePeriodMs)
    } to finish`;
  }
  if (runningRequests === 0) return `Stopping (${reason}): no request is running`;
  const running = counted(runningRequests, "running request");
  return `Stopping (${reason}): ${running} may take ${formatDuration(gracePeriodMs)} to finish`;
}

function stoppedMessage(event: ProxyEvent<"stopped">): string {
  const { abandonedRequests } = event;
  return abandonedRequests === 0
    ? "Stopped: all requests finished"
    : `Stopped: ${counted(abandonedRequests, "request")} did not finish in time`;
}

function reloadMessage(
  { outcome, generation, trigger, problems, notReloaded }: ProxyEvent<"reload">,
): string {
  switch (outcome) {
    case "applied": {
      const stale = notReloaded.length === 0 ? "" : `; not loaded again: ${notReloaded.join(", ")}`;
      return `Configuration ${generation} is in use (${trigger})${stale}`;
    }
    case "rejected":
      return `Configuration not loaded (${trigger}), number ${generation} stays in use: ${
        problems.join("; ")
      }`;
    case "rolled_back":
      return `Rolled back to the previous configuration, as number ${generation}: ${trigger}`;
  }
}

// The last events, for a dashboard that is opened later.

/** Maximum number of events. */
const KEPT = 200;

/** A stored event. */
export interface LoggedEvent {
  /** Ascending number, from 1. */
  readonly id: number;
  /** Time as RFC 3339. */
  readonly time: string;
  readonly level: LogLevel;
  readonly kind: ProxyEvent["kind"];
  readonly message: string;
}

/**
 * Stores the last 200 events and passes everything to the next observer.
 *
 * Failures of single requests and messages of filters are not stored: many of them would displace all other events.
 */
export class EventLog implements Observer {
  /** Called with each stored event. */
  onEvent: ((event: ProxyEvent, logged: LoggedEvent) => void) | null = null;
  readonly #next: Observer;
  readonly #clock: Clock;
  readonly #events: LoggedEvent[] = [];
  #count = 0;

  /** @param next receives all events and entries */
  constructor(next: Observer, clock: Clock) {
    this.#next = next;
    this.#clock = clock;
  }

  get wantsAccess(): boolean {
    return this.#next.wantsAccess;
  }

  /** The events after this id, oldest first. */
  after(id: number): LoggedEvent[] {
    return this.#events.filter((event) => event.id > id);
  }

  event(event: ProxyEvent): void {
    this.#next.event(event);
    if (event.kind === "request_failure" || event.kind === "request_log") return;
    const logged: LoggedEvent = {
      id: ++this.#count,
      time: new Date(this.#clock.wallTime()).toISOString(),
      level: eventLevel(event),
      kind: event.kind,
      message: eventMessage(event),
    };
    this.#events.push(logged);
    if (this.#events.length > KEPT) this.#events.shift();
    this.onEvent?.(event, logged);
  }

  access(entry: AccessEntry): void {
    this.#next.access(entry);
  }
}
