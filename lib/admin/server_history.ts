/** The state of servers, with start time and reason. */

import type { ProxyEvent } from "../observe/events.ts";
import type { PoolRuntime } from "../proxy/proxy_runtime.ts";
import { ineligibility } from "../upstream/eligibility.ts";
import type { Server } from "../upstream/server.ts";
import type { ServerStateName } from "./status.ts";

/** The record of a server. */
export interface ServerRecord {
  state: ServerStateName;
  /** When the state began, in milliseconds since 1970. */
  since: number;
  reason: string | null;
  /** Counts at the last sample. */
  requests: number;
  failures: number;
  perSecond: number;
  failuresPerSecond: number;
}

/** Changes that explain the state of a server; a weight does not. */
const STATE_CHANGES: ReadonlySet<string> = new Set(["drain", "ready", "disable"]);

/** Tracks the states of servers by samples and events. */
export class ServerHistory {
  #records = new Map<Server, ServerRecord>();
  /** The last reason from an event, by pool and address. */
  readonly #reasons = new Map<string, string>();

  /** Receives an event. */
  note(event: ProxyEvent): void {
    if (event.kind === "ejection") {
      this.#setReason(event.pool, event.server, event.ejected ? event.reason : null);
    } else if (event.kind === "health") this.#setReason(event.pool, event.server, event.reason);
    else if (
      event.kind === "admin_change" && event.server !== null && event.pool !== null && event.error === null &&
      STATE_CHANGES.has(event.action)
    ) {
      this.#setReason(event.pool, event.server, `${event.action} by ${event.who}`);
    }
  }

  #setReason(pool: string, server: string, reason: string | null): void {
    const key = `${pool}\n${server}`;
    if (reason === null) this.#reasons.delete(key);
    else this.#reasons.set(key, reason);
  }

  /**
   * Samples every server.
   *
   * @param elapsedMs time since the last calculation of rates; 0 keeps the rates
   */
  look(pools: readonly PoolRuntime[], now: number, elapsedMs: number): void {
    const records = new Map<Server, ServerRecord>();
    const names = new Set<string>();
    for (const { name, balancer: { pool } } of pools) {
      for (const server of [...pool.servers, ...pool.leaving]) {
        records.set(server, this.#sample(server, name, now, elapsedMs));
        names.add(`${name}\n${server.id}`);
      }
    }
    this.#records = records;
    for (const name of this.#reasons.keys()) if (!names.has(name)) this.#reasons.delete(name);
  }

  /** The record of a server. */
  of(server: Server): ServerRecord | undefined {
    return this.#records.get(server);
  }

  #sample(server: Server, pool: string, now: number, elapsedMs: number): ServerRecord {
    const { requests, failures } = server;
    const state = stateOf(server);
    const reason = this.#reasons.get(`${pool}\n${server.id}`) ?? null;
    const record = this.#records.get(server);
    if (record === undefined) {
      return { state, since: now, reason, requests, failures, perSecond: 0, failuresPerSecond: 0 };
    }
    // Servers are full only for moments, so being full does not begin a new state.
    if (withoutFull(state) !== withoutFull(record.state)) record.since = now;
    record.state = state;
    record.reason = reason;
    if (elapsedMs > 0) {
      record.perSecond = Math.max(0, requests - record.requests) * 1000 / elapsedMs;
      record.failuresPerSecond = Math.max(0, failures - record.failures) * 1000 / elapsedMs;
      record.requests = requests;
      record.failures = failures;
    }
    return record;
  }
}

function withoutFull(state: ServerStateName): ServerStateName {
  return state === "full" ? "up" : state;
}

/** The name of a server's state. */
export function stateOf(server: Server): ServerStateName {
  const reason = ineligibility(server);
  if (reason === "draining" && server.leaving) return "leaving";
  if (reason === "unhealthy" && server.health === "checking") return "checking";
  if ((reason === null || reason === "full") && server.halfOpen) return "recovering";
  return reason ?? "up";
}

// The history of the last minutes.

/** The values of one second. */
interface HistoryPoint {
  readonly perSecond: number;
  readonly inFlight: number;
  readonly cpu: number;
  /** Responses per second with status 1xx to 3xx, 4xx and 5xx. */
  readonly ok: number;
  readonly client: number;
  readonly server: number;
  /** Requests per second that the limits refused. */
  readonly refused: number;
  /** Quantiles of the latency in milliseconds; `null` without requests. */
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/** The history by column. */
interface HistoryColumns {
  /** Seconds since 1970. */
  readonly time: readonly number[];
  readonly columns: Readonly<Record<keyof HistoryPoint, readonly (number | null)[]>>;
}

type Name = keyof HistoryPoint;
const NAMES = [
  "perSecond",
  "inFlight",
  "cpu",
  "ok",
  "client",
  "server",
  "refused",
  "p50",
  "p95",
  "p99",
] as const;

/** Number of seconds that are kept: ten minutes. */
const MAX_POINTS = 600;

/** Keeps the values of the last ten minutes. */
export class History {
  readonly #times: number[] = [];
  readonly #points: HistoryPoint[] = [];

  /** @param wallTime in milliseconds */
  add(wallTime: number, point: HistoryPoint): void {
    this.#times.push(Math.round(wallTime / 100) / 10);
    this.#points.push(point);
    if (this.#points.length <= MAX_POINTS) return;
    this.#times.shift();
    this.#points.shift();
  }

  /** All values, oldest first. */
  columns(): HistoryColumns {
    const column = (name: Name) =>
      this.#points.map((point) => point[name] === null ? null : Math.round(point[name] * 1000) / 1000);
    const columns = Object.fromEntries(NAMES.map((name) => [name, column(name)]));
    return { time: [...this.#times], columns: columns as Record<Name, (number | null)[]> };
  }
}
