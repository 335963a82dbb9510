/** Since when servers are what they are, and why. */

import type { ProxyEvent } from "../observe/events.ts";
import type { PoolRuntime } from "../proxy/proxy_runtime.ts";
import { ineligibility } from "../upstream/eligibility.ts";
import type { Server } from "../upstream/server.ts";
import type { ServerStateName } from "./status.ts";

/** What is known of a server. */
export interface ServerRecord {
  state: ServerStateName;
  /** When it became that, in milliseconds since 1970. */
  since: number;
  reason: string | null;
  /** What it had counted when it was looked at last. */
  requests: number;
  failures: number;
  perSecond: number;
  failuresPerSecond: number;
}

/** Changes that say why a server is in its state; a weight does not. */
const STATES: ReadonlySet<string> = new Set(["drain", "ready", "disable"]);

/** Follows the states of servers by looking at them, and by what is told of them. */
export class ServerHistory {
  #records = new Map<Server, ServerRecord>();
  /** What was told last of servers, by pool and address. */
  readonly #told = new Map<string, string>();

  /** Takes in what is told of a server. */
  note(event: ProxyEvent): void {
    if (event.kind === "ejection") this.#tell(event.pool, event.server, event.ejected ? event.reason : null);
    else if (event.kind === "health") this.#tell(event.pool, event.server, event.reason);
    else if (
      event.kind === "admin_change" && event.server !== null && event.pool !== null && event.error === null &&
      STATES.has(event.action)
    ) {
      this.#tell(event.pool, event.server, `${event.action} by ${event.who}`);
    }
  }

  #tell(pool: string, server: string, reason: string | null): void {
    const key = `${pool}\n${server}`;
    if (reason === null) this.#told.delete(key);
    else this.#told.set(key, reason);
  }

  /**
   * Looks at every server.
   *
   * @param elapsedMs since the rates were worked out last; 0 leaves them as they are
   */
  look(pools: readonly PoolRuntime[], now: number, elapsedMs: number): void {
    const records = new Map<Server, ServerRecord>();
    const names = new Set<string>();
    for (const { name, balancer: { pool } } of pools) {
      for (const server of [...pool.servers, ...pool.leaving]) {
        records.set(server, this.#look(server, name, now, elapsedMs));
        names.add(`${name}\n${server.id}`);
      }
    }
    this.#records = records;
    for (const name of this.#told.keys()) if (!names.has(name)) this.#told.delete(name);
  }

  /** What is known of a server. */
  of(server: Server): ServerRecord | undefined {
    return this.#records.get(server);
  }

  #look(server: Server, pool: string, now: number, elapsedMs: number): ServerRecord {
    const { requests, failures } = server;
    const state = stateOf(server);
    const told = this.#told.get(`${pool}\n${server.id}`) ?? null;
    const record = this.#records.get(server);
    if (record === undefined) {
      return { state, since: now, reason: told, requests, failures, perSecond: 0, failuresPerSecond: 0 };
    }
    // Full servers are full for moments: that is no state that begins and ends.
    if (coarse(state) !== coarse(record.state)) record.since = now;
    record.state = state;
    record.reason = told;
    if (elapsedMs > 0) {
      record.perSecond = Math.max(0, requests - record.requests) * 1000 / elapsedMs;
      record.failuresPerSecond = Math.max(0, failures - record.failures) * 1000 / elapsedMs;
      record.requests = requests;
      record.failures = failures;
    }
    return record;
  }
}

function coarse(state: ServerStateName): ServerStateName {
  return state === "full" ? "up" : state;
}

/** What a server is called. */
export function stateOf(server: Server): ServerStateName {
  const reason = ineligibility(server);
  if (reason === "draining" && server.leaving) return "leaving";
  if (reason === "unhealthy" && server.health === "checking") return "checking";
  if ((reason === null || reason === "full") && server.halfOpen) return "recovering";
  return reason ?? "up";
}

// What the last minutes were like.

/** One second. */
interface HistoryPoint {
  readonly perSecond: number;
  readonly inFlight: number;
  readonly cpu: number;
  /** Responses a second with 1xx to 3xx, 4xx and 5xx. */
  readonly ok: number;
  readonly client: number;
  readonly server: number;
  /** Requests a second that the limits refused. */
  readonly refused: number;
  /** Quantiles of the latency in milliseconds; `null` where there was no request. */
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/** The last minutes, column by column. */
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

/** Ten minutes. */
const KEPT = 600;

/** Keeps ten minutes. */
export class History {
  readonly #times: number[] = [];
  readonly #points: HistoryPoint[] = [];

  /** @param wallTime in milliseconds */
  add(wallTime: number, point: HistoryPoint): void {
    this.#times.push(Math.round(wallTime / 100) / 10);
    this.#points.push(point);
    if (this.#points.length <= KEPT) return;
    this.#times.shift();
    this.#points.shift();
  }

  /** All that is kept, oldest first. */
  columns(): HistoryColumns {
    const column = (name: Name) =>
      this.#points.map((point) => point[name] === null ? null : Math.round(point[name] * 1000) / 1000);
    const columns = Object.fromEntries(NAMES.map((name) => [name, column(name)]));
    return { time: [...this.#times], columns: columns as Record<Name, (number | null)[]> };
  }
}
