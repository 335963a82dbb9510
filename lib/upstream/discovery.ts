/** Discovers the servers of a pool at run time, by a function or by DNS records. */

import { describeValue } from "../core/describe_value.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { formatAddress, type ServerInit, type ServerSpec } from "./peer.ts";
import type { Pool, PoolChange } from "./pool.ts";

/** Finds the servers of a pool; the signal aborts when the result is not needed any more. */
export type Discover = (signal: AbortSignal) => Promise<readonly (string | ServerSpec | ServerInit)[]>;

/** Receives the results of refreshes. */
interface DiscoveryHooks {
  /** Called when servers were added or removed; not when only weights have changed. */
  onChange?: (change: PoolChange) => void;
  /** Called when refreshes begin to fail or find nothing, once until one succeeds. The servers are kept. */
  onFailure?: (error: unknown) => void;
  /** Called when a refresh succeeds after a failure. */
  onRecovery?: () => void;
}

/** Options of {@linkcode Discovery}. */
interface DiscoveryInit extends DiscoveryHooks {
  pool: Pool;
  discover: Discover;
  /** Time from the end of a refresh to the next one, in milliseconds. */
  intervalMs: number;
  /** Timeout of a refresh, in milliseconds. */
  timeoutMs: number;
  clock: Clock;
  random: Random;
}

/** Longest pause before the next refresh while the pool has no server, in milliseconds. */
const EMPTY_PAUSE_MS = 1000;

/** Largest random shortening of the interval, as a share; without it all proxies would send requests at the same time. */
const JITTER = 0.1;

/**
 * Replaces the servers of a pool with those that a function finds, periodically. Servers that are found again keep their
 * state. A refresh that fails or finds nothing changes nothing, because an empty pool is rarely intended.
 */
export class Discovery implements Disposable {
  readonly #init: DiscoveryInit;
  #timer: Disposable | null = null;
  #controller: AbortController | null = null;
  #failures = 0;
  #failing = false;
  #disposed = false;

  constructor(init: DiscoveryInit) {
    this.#init = init;
  }

  /** Number of refreshes that failed or found nothing. */
  get failures(): number {
    return this.#failures;
  }

  /** Starts the refreshes; resolves when the first one has ended, also if it failed. */
  async start(): Promise<void> {
    await this.#refresh();
  }

  async #refresh(): Promise<void> {
    if (this.#disposed) return;
    const { pool, discover, timeoutMs, clock } = this.#init;
    const controller = this.#controller = new AbortController();
    const timeout = clock.setTimer(() => {
      controller.abort(new DOMException(`No response after ${timeoutMs} ms`, "TimeoutError"));
    }, timeoutMs);
    try {
      const servers = await untilAborted(discover(controller.signal), controller.signal);
      if (servers.length === 0) throw new Error("no servers were found");
      if (!this.#disposed) this.#succeed(pool.replaceServers(servers));
    } catch (error) {
      if (!this.#disposed) this.#fail(error);
    } finally {
      timeout[Symbol.dispose]();
      this.#controller = null;
      this.#schedule();
    }
  }

  #schedule(): void {
    if (this.#disposed) return;
    const { pool, clock, random, intervalMs } = this.#init;
    const pauseMs = pool.servers.length === 0 ? Math.min(EMPTY_PAUSE_MS, intervalMs) : intervalMs;
    this.#timer = clock.setTimer(() => void this.#refresh(), pauseMs * (1 - JITTER * random()));
  }

  #succeed(change: PoolChange): void {
    const { onChange, onRecovery } = this.#init;
    const recovered = this.#failing;
    this.#failing = false;
    if (recovered) onRecovery?.();
    if (change.added.length > 0 || change.removed.length > 0) onChange?.(change);
  }

  #fail(error: unknown): void {
    this.#failures++;
    if (this.#failing) return;
    this.#failing = true;
    this.#init.onFailure?.(error);
  }

  /** Stops the refreshes; the servers are kept. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    this.#controller?.abort(new DOMException("The discovery was ended", "AbortError"));
  }
}

/** Rejects when the signal aborts before the promise settles: a function may ignore its signal. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", onAbort));
}

// Discovery by DNS records.

/** The DNS records to look up; `DiscoveryOptions` of a pool documents them. */
export interface DnsDiscoveryOptions {
  name: string;
  record: "A" | "AAAA" | "SRV";
  port?: number;
  resolver?: string;
}

/** Queries a name server. */
type Query = (signal: AbortSignal) => Promise<ServerSpec[]>;

/**
 * Makes a function that finds servers by DNS records.
 *
 * SRV records (RFC 2782) with the lowest priority are primary servers, all others are backups; weight 0 counts
 * as 1.
 *
 * @throws {TypeError} when the port is missing or the resolver is invalid
 */
export function dnsDiscovery({ name, record, port, resolver }: DnsDiscoveryOptions): Discover {
  const nameServer = nameServerOf(resolver);
  if (record === "SRV") return querySrv(name, nameServer);
  if (port === undefined) {
    throw new TypeError(`Cannot discover servers: "port" is required beside ${record} records`);
  }
  return queryAddresses(name, record, port, nameServer);
}

type NameServer = Pick<Deno.ResolveDnsOptions, "nameServer">;

function queryAddresses(name: string, record: "A" | "AAAA", port: number, nameServer: NameServer): Query {
  return async (signal) => {
    const hostnames = await Deno.resolveDns(name, record, { ...nameServer, signal });
    // Name servers shuffle records. Sorted, the same records result in the same list.
    return distinct(hostnames).map((hostname) => ({
      address: formatAddress({ kind: "tcp", hostname, port }),
    }));
  };
}

function querySrv(name: string, nameServer: NameServer): Query {
  return async (signal) => {
    const records = await Deno.resolveDns(name, "SRV", { ...nameServer, signal });
    const best = Math.min(...records.map(({ priority }) => priority));
    const servers = records.map(({ target, port, weight, priority }): ServerSpec => ({
      address: formatAddress({ kind: "tcp", hostname: target.replace(/\.$/, ""), port }),
      weight: Math.max(1, weight),
      backup: priority > best,
    }));
    return [...new Map(servers.map((server) => [server.address, server])).values()]
      .sort((a, b) => a.address < b.address ? -1 : 1);
  };
}

function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort();
}

/** The form of a resolver, for error messages. */
export const RESOLVER_EXPECTED = 'a resolver such as "10.0.0.53:53"';

/** Parses the address of a name server, `"ip"` or `"ip:port"`; `undefined` for any other text. */
export function parseResolver(resolver: string): { ipAddr: string; port: number } | undefined {
  const match = /^(?:\[([\da-f:]+)\]|([\d.]+))(?::(\d+))?$|^([\da-f:]+)$/i.exec(resolver);
  if (match === null) return undefined;
  return { ipAddr: (match[1] ?? match[2] ?? match[4])!, port: Number(match[3] ?? 53) };
}

function nameServerOf(resolver: string | undefined): NameServer {
  if (resolver === undefined) return {};
  const nameServer = parseResolver(resolver);
  if (nameServer !== undefined) return { nameServer };
  throw new TypeError(
    `Cannot discover servers: the resolver must be ${RESOLVER_EXPECTED}, received ${describeValue(resolver)}`,
  );
}
