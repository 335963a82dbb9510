/** Discovers the servers of a pool while the proxy runs, by a function or by DNS records. */

import { describeValue } from "../core/describe_value.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { formatAddress, type ServerInit, type ServerSpec } from "./peer.ts";
import type { Pool, PoolChange } from "./pool.ts";

/** Finds the servers of a pool; the signal aborts when the result is no longer wanted. */
export type Discover = (signal: AbortSignal) => Promise<readonly (string | ServerSpec | ServerInit)[]>;

/** Receives what a refresh changed, or that it failed. */
interface DiscoveryHooks {
  /** Called when servers were added or removed; not when only weights changed. */
  onChange?: (change: PoolChange) => void;
  /** Called when refreshes begin to fail or to find nothing, once until one succeeds; the servers stay. */
  onFailure?: (error: unknown) => void;
  /** Called when a refresh succeeds after one that failed. */
  onRecovery?: () => void;
}

/** What a {@linkcode Discovery} is made of. */
interface DiscoveryInit extends DiscoveryHooks {
  pool: Pool;
  discover: Discover;
  /** Milliseconds from the end of a refresh to the next one. */
  intervalMs: number;
  /** Most milliseconds of a refresh. */
  timeoutMs: number;
  clock: Clock;
  random: Random;
}

/** Longest pause before the next refresh while the pool has no server. */
const EMPTY_PAUSE_MS = 1000;

/** Largest share of the interval to shorten it by at random; without this all proxies would ask at the same time. */
const JITTER = 0.1;

/**
 * Replaces the servers of a pool by those that a function finds, again and again; servers that are found again keep their
 * state. A refresh that fails or finds nothing changes nothing, since a pool without servers is hardly ever meant.
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

  /** Refreshes that failed or found nothing. */
  get failures(): number {
    return this.#failures;
  }

  /** Starts the refreshes; fulfilled when the first one is over, failed or not. */
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

  /** Stops the refreshes; the servers stay. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    this.#controller?.abort(new DOMException("The discovery was ended", "AbortError"));
  }
}

/** The same promise, but rejected when the signal aborts: a function may ignore its signal. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", onAbort));
}

// Finds servers by DNS records.

/** Which records to look up; `DiscoveryOptions` of a pool documents them. */
export interface DnsDiscoveryOptions {
  name: string;
  record: "A" | "AAAA" | "SRV";
  port?: number;
  resolver?: string;
}

/** Asks a name server. */
type Ask = (signal: AbortSignal) => Promise<ServerSpec[]>;

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
  if (record === "SRV") return askSrv(name, nameServer);
  if (port === undefined) {
    throw new TypeError(`Cannot discover servers: "port" is required beside ${record} records`);
  }
  return askAddresses(name, record, port, nameServer);
}

type NameServer = Pick<Deno.ResolveDnsOptions, "nameServer">;

function askAddresses(name: string, record: "A" | "AAAA", port: number, nameServer: NameServer): Ask {
  return async (signal) => {
    const hostnames = await Deno.resolveDns(name, record, { ...nameServer, signal });
    // Name servers shuffle the records: sorted, the same records give the same list.
    return distinct(hostnames).map((hostname) => ({
      address: formatAddress({ kind: "tcp", hostname, port }),
    }));
  };
}

function askSrv(name: string, nameServer: NameServer): Ask {
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

/** Reads the address of a name server, `"ip"` or `"ip:port"`; `undefined` for any other text. */
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
