/** Chooses a server for each request. */

import { checkOptions } from "../core/options.ts";
import { callAside, tellStrayError } from "../core/callback.ts";
import type { Cancellation } from "../core/cancellation.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { resolveEjection } from "../health/ejection_options.ts";
import { resolveHealthCheck } from "../health/health_check_options.ts";
import { resolveSlowStart } from "../health/slow_start.ts";
import type { LastCheck } from "../health/server_check.ts";
import { Pool } from "../upstream/pool.ts";
import type { ServerSpec } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, PickRequest, Selection } from "./algorithm.ts";
import { isAvailable } from "../upstream/eligibility.ts";
import { createAlgorithm } from "./create_algorithm.ts";
import { LOAD_BALANCER, type LoadBalancerInit, type LoadBalancerOptions } from "./load_balancer_options.ts";
import { ServerMonitor } from "./server_monitor.ts";
import { resolveSticky, StickySessions } from "./sticky_sessions.ts";
import { type Claim, type ClaimAttempt, type Refusal, resolveQueue, WaitingLine } from "./waiting_line.ts";

export type { LoadBalancerOptions } from "./load_balancer_options.ts";

/** The queue of a pool without one: requests wait a moment for servers that are down and are being checked. */
const MOMENT = { size: 100, timeoutMs: 1000 };
const NOBODY: readonly Server[] = [];

/** How often requests that wait look for room that another process has made. */
const POLL_MS = 5;
/** How often a request chooses anew because other processes were faster. */
const MAX_TRIES = 8;

/**
 * Chooses a server of a pool for each request, among those that may be sent one.
 *
 * @example
 * ```ts
 * import { LoadBalancer } from "@x/lbproxy";
 *
 * using balancer = LoadBalancer.from(["127.0.0.1:9001", "127.0.0.1:9002"]);
 * const server = balancer.select();
 * if (server !== undefined) {
 *   using _lease = server.acquire();
 *   console.log(`to ${server.id}`);
 * }
 * ```
 */
export class LoadBalancer implements Disposable, AsyncDisposable {
  /** The servers; may be changed while it runs. */
  readonly pool: Pool;
  /** @internal Ties clients to servers; `null` without sticky sessions. */
  readonly sticky: StickySessions | null;
  readonly #tiers: readonly [Tier, Tier];
  readonly #monitor: ServerMonitor;
  /** What the algorithms were made of. */
  readonly #balance: readonly [LoadBalancerInit["balance"], number];
  /** The one that has taken its place, which learns how requests end from then on. */
  #heir: LoadBalancer | null = null;
  readonly #line: WaitingLine;
  readonly #clock: Clock;
  /** Looks for room that other processes make, while requests wait. */
  #poll: Disposable | null = null;
  /** Whether requests may wait while servers are full. */
  readonly #queued: boolean;
  readonly #maxInFlight: number;
  readonly #state: Pool["state"];
  readonly #panicThreshold: number;
  readonly #onPanic: LoadBalancerInit["onPanic"];
  #version = -1;
  #membership = -1;
  #panic = false;

  /** Makes a load balancer of a pool; without a pool use {@linkcode LoadBalancer.from}. */
  constructor(init: LoadBalancerInit) {
    const { pool, balance = "round-robin", clock = systemClock, random = systemRandom } = init;
    const { maxInFlight = Infinity, panicThreshold = 0, loadFactor = Infinity, queue, onPanic } = init;
    const { sticky = null } = init;
    this.pool = pool;
    this.#state = pool.state;
    this.sticky = sticky === null ? null : new StickySessions(pool, sticky);
    this.#maxInFlight = maxInFlight;
    this.#panicThreshold = panicThreshold;
    this.#onPanic = onPanic;
    this.#balance = [balance, loadFactor];
    this.#clock = clock;
    pool.maxInFlight = maxInFlight;
    const tier = (rank: 0 | 1): Tier => {
      const turns = pool.cells === null ? null : { cells: pool.cells, rank };
      const parts = { clock, random, loadFactor, turns, onError: init.onBalanceError };
      return new Tier(createAlgorithm(balance, parts), pool);
    };
    this.#tiers = [tier(0), tier(1)];
    this.#monitor = new ServerMonitor({ ...init, clock, random, onLooked: () => this.#line.wake() });
    this.#line = new WaitingLine(queue ?? MOMENT, clock, pool.cells);
    this.#queued = queue !== undefined && queue !== null;
    if (this.#tiers[0].algorithm.loadChanged !== undefined) {
      pool.onLoad = (server) => this.#loadChanged(server);
    }
    this.#refresh();
  }

  /**
   * Makes a load balancer of addresses (`"host:port"`), or of addresses with weights and more.
   *
   * @throws {TypeError} when an address or an option is invalid, or an address appears twice
   */
  static from(servers: Iterable<string | ServerSpec>, options: LoadBalancerOptions = {}): LoadBalancer {
    checkOptions("make a load balancer", LOAD_BALANCER, options);
    const { healthCheck, ejection = {}, slowStart, queue, sticky, ...rest } = options;
    return new LoadBalancer({
      ...rest,
      pool: new Pool({ name: "default", servers: [...servers] }),
      sticky: sticky === undefined ? null : resolveSticky(sticky),
      healthCheck: healthCheck === undefined ? null : resolveHealthCheck(healthCheck),
      ejection: ejection === false ? null : resolveEjection(ejection),
      slowStart: slowStart === undefined ? null : resolveSlowStart(slowStart),
      queue: queue === undefined ? null : resolveQueue(queue),
    });
  }

  /** Requests that wait for a server. */
  get waiting(): number {
    return this.#line.length;
  }

  /** Whether so few servers were up at the last choice that all are used. */
  get panic(): boolean {
    return this.#panic;
  }

  /**
   * Chooses a server; returns `undefined` when none may be sent a request. Never throws.
   *
   * @param key the key that hashing algorithms hash
   * @param maxIterations how many full servers may be passed over
   */
  select(key?: string | Uint8Array, maxIterations = 256): Server | undefined {
    return this.pick({ key }, maxIterations);
  }

  /** @internal Chooses a server that the request has not tried; returns `undefined` when there is none. Never throws. */
  pick(request: PickRequest, maxIterations = Infinity): Server | undefined {
    if (this.#version !== this.#state.version) this.#refresh();
    if (this.#state.inFlight >= this.#maxInFlight) return undefined;
    const kept = this.sticky === null ? undefined : this.sticky.find(request);
    if (kept !== undefined) return kept;
    const selection = new RequestSelection(request, maxIterations);
    return this.#tiers[0].pick(selection) ?? this.#tiers[1].pick(selection);
  }

  /**
   * @internal
   * Chooses a server and counts the request in; waits in the queue while all servers are full. Returns no promise
   * when the request need not wait.
   *
   * When no server may be used, it tries one that is ejected. Without such a one it checks the servers that are down,
   * and the request waits a moment for the result.
   */
  claim(
    request: PickRequest,
    cancellation: Cancellation | null = null,
  ): Claim | Refusal | Promise<Claim | Refusal> {
    // Requests that wait already go first.
    const attempt = this.#queued && this.#line.blocked ? "full" : this.#tryClaim(request, true);
    if (typeof attempt !== "string" || attempt === "none_eligible") return attempt;
    if (attempt === "full" && !this.#queued) return "queue_full";
    const choosy = request.exclude !== undefined && request.exclude.length > 0;
    const joined = this.#line.join(() => this.#tryClaim(request, false), choosy, cancellation);
    if (typeof joined === "string") return attempt === "down" ? "none_eligible" : joined;
    this.pool.onRoom = this.#onRoom;
    if (this.pool.shared !== null) this.#pollLater();
    return joined;
  }

  #pollLater(): void {
    this.#poll ??= this.#clock.setTimer(() => {
      this.#poll = null;
      this.#onRoom();
      if (this.#line.length > 0) this.#pollLater();
    }, POLL_MS);
  }

  readonly #onRoom = (): void => {
    this.#line.wake();
    if (this.#line.length === 0) this.pool.onRoom = null;
  };

  /**
   * Takes in how a request to a server ended; call it before you release the lease.
   *
   * @param outcome `"failure"` without a response, or with one that shows that the server fails; `"ignored"` when the end
   * says nothing about the server, as with most 4xx or when the client went away
   * @param latencyMs time until the response began or the request failed
   * @param stage how far the request got: it tried to connect, to do the TLS handshake, or to get a response; `"response"`
   * when one came, whatever its status
   */
  report(
    server: Server,
    outcome: "success" | "failure" | "ignored",
    latencyMs: number,
    stage: "connect" | "tls" | "request" | "response" = "response",
  ): void {
    server.count(outcome);
    const balancer = this.#heir === null ? this : this.#latest();
    if (balancer !== this && !balancer.pool.has(server)) return;
    balancer.#tiers[server.backup ? 1 : 0].algorithm.observe?.(server, outcome, latencyMs);
    balancer.#monitor.ejection?.record(server, outcome, latencyMs, stage);
  }

  #latest(): LoadBalancer {
    // deno-lint-ignore no-this-alias
    let latest: LoadBalancer = this;
    while (latest.#heir !== null) latest = latest.#heir;
    return latest;
  }

  /**
   * Takes the place of another load balancer, whose pool is the one before this one's. The state of servers that are in both
   * pools goes on, and so do the turns and estimates of the same algorithm. The other one serves its last requests; its
   * checks end.
   *
   * @internal
   */
  takeOver(before: LoadBalancer): void {
    const adopted = this.pool.takeOver();
    const known = new Set(adopted);
    const fresh = this.pool.servers.filter((server) => !known.has(server));
    this.#monitor.takeOver(before.#monitor, adopted, fresh);
    before.#monitor[Symbol.dispose]();
    before.#heir = this;
    const [balance, loadFactor] = this.#balance;
    if (balance === before.#balance[0] && loadFactor === before.#balance[1]) {
      this.#tiers.forEach((tier, rank) => {
        const other = before.#tiers[rank]!;
        [tier.algorithm, other.algorithm] = [other.algorithm, tier.algorithm];
      });
    }
    this.#refresh();
  }

  /** @internal What the last active check of a server found; `null` without one. */
  lastCheck(server: Server): LastCheck | null {
    return this.#monitor.lastCheck(server);
  }

  /**
   * Starts the active checks, if any are configured.
   *
   * @returns a promise that is fulfilled when every server was checked once, at the latest after the timeout of a check
   */
  startHealthChecks(): Promise<void> {
    return this.#monitor.start();
  }

  /**
   * @internal
   * Prepares for the first request: ends all slow starts, since the servers that are there must take the whole load,
   * and builds what the algorithm needs.
   */
  prepare(): void {
    this.#monitor.endSlowStarts();
    this.#refresh();
    for (const { algorithm, candidates } of this.#tiers) algorithm.prepare?.(candidates);
  }

  /** @param look whether to check servers that are down when there is no other */
  #tryClaim(request: PickRequest, look: boolean): ClaimAttempt {
    // Another process may fill a server between its choice and this request.
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const server = this.pick(request);
      if (server === undefined) break;
      const lease = server.tryAcquire();
      if (lease !== null) return { server, lease };
    }
    // A candidate that was not tried before and was not chosen must be full.
    const { exclude = NOBODY } = request;
    const waits = this.#tiers.some(({ candidates }) =>
      candidates.servers.some((other) => !exclude.includes(other))
    );
    if (waits) return "full";
    const monitor = this.#heir === null ? this.#monitor : this.#latest().#monitor;
    const ejected = this.pool.inFlight < this.#maxInFlight ? monitor.lastResort(exclude) : null;
    if (ejected === "busy") return "full";
    if (ejected !== null) {
      const lease = ejected.tryAcquireTrial();
      return lease === null ? "full" : { server: ejected, lease };
    }
    return monitor.mayComeUp(exclude, look) ? "down" : "none_eligible";
  }

  #loadChanged(server: Server): void {
    this.#tiers[server.backup ? 1 : 0].algorithm.loadChanged?.(server);
  }

  #refresh(): void {
    const { pool } = this;
    if (this.#membership !== pool.membership) {
      const weighty = pool.servers.filter((server) => server.weight > 0);
      this.#tiers[0].setMembers(weighty.filter((server) => !server.backup));
      this.#tiers[1].setMembers(weighty.filter((server) => server.backup));
      this.#membership = pool.membership;
    }
    // Before anything is read that another process may change meanwhile.
    this.#version = pool.version;
    for (const tier of this.#tiers) tier.refresh(this.#panicThreshold);
    const { panic } = this.#tiers[0];
    if (panic === this.#panic) return;
    this.#panic = panic;
    const onPanic = this.#onPanic;
    if (onPanic !== undefined) callAside(() => onPanic(panic), (error) => tellStrayError("onPanic", error));
  }

  /** Stops the checks, refuses the requests that wait, and disposes the pool. */
  [Symbol.dispose](): void {
    // First the queue: stopping the rest makes servers eligible that were not checked.
    this.#line[Symbol.dispose]();
    this.#poll?.[Symbol.dispose]();
    this.#monitor[Symbol.dispose]();
    for (const tier of this.#tiers) tier[Symbol.dispose]();
    this.pool[Symbol.dispose]();
  }

  /** Does the same, and waits until running checks have closed their connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.#monitor[Symbol.asyncDispose]();
  }
}

/** The choice for one request. */
export class RequestSelection implements Selection {
  readonly key: string | Uint8Array | undefined;
  readonly source: unknown;
  readonly #exclude: readonly Server[] | undefined;
  #refusalsLeft: number;

  constructor({ key, exclude, source }: PickRequest, maxIterations: number) {
    this.key = key;
    this.source = source;
    this.#exclude = exclude;
    this.#refusalsLeft = maxIterations;
  }

  /** Whether the request has been at a server before. */
  get retries(): boolean {
    return this.#exclude !== undefined && this.#exclude.length > 0;
  }

  /** Whether the request may go to this candidate; always false after too many refusals. */
  accepts(server: Server): boolean {
    if (this.#refusalsLeft <= 0) return false;
    if (!server.full && !(this.#exclude !== undefined && this.#exclude.includes(server))) return true;
    this.#refusalsLeft--;
    return false;
  }
}

/** Servers of one rank and what they share. */
interface Rank {
  /** All servers with weight, available or not. */
  readonly members: readonly Server[];
  /** Requests in flight at all servers of the pool. */
  readonly load: { readonly inFlight: number };
  /** Whether servers count that are out only because of checks or ejection. */
  readonly panic: boolean;
}

/** Lists the servers that may be sent requests. */
export function listCandidates({ members, load, panic }: Rank): Candidates {
  const servers = members.filter((server) => isAvailable(server, panic));
  const weights = Float64Array.from(servers, (server) => server.effectiveWeight);
  const totalWeight = weights.reduce((sum, weight) => sum + weight, 0);
  return { servers, weights, totalWeight, members, load };
}

/** The primary servers or the backups of a pool, and the algorithm that chooses one of them. */
class Tier implements Disposable {
  algorithm: Algorithm;
  readonly #load: { readonly inFlight: number };
  #members: readonly Server[] = [];
  #candidates: Candidates;
  #panic = false;

  constructor(algorithm: Algorithm, load: { readonly inFlight: number }) {
    this.algorithm = algorithm;
    this.#load = load;
    this.#candidates = listCandidates({ members: [], load, panic: false });
  }

  /** Whether so few servers are up that all are used. */
  get panic(): boolean {
    return this.#panic;
  }

  /** The servers that may be chosen. */
  get candidates(): Candidates {
    return this.#candidates;
  }

  /** Sets its members; call {@linkcode refresh} afterwards. */
  setMembers(members: readonly Server[]): void {
    this.#members = members;
  }

  /** Lists the candidates anew; panics when less than this share of the servers in use is available. */
  refresh(panicThreshold: number): void {
    const members = this.#members;
    if (panicThreshold > 0) {
      const allowed = members.filter((server) => server.enabled && !server.draining);
      const available = allowed.filter((server) => server.available);
      this.#panic = available.length < panicThreshold * allowed.length;
    }
    this.#candidates = listCandidates({ members, load: this.#load, panic: this.#panic });
  }

  /** Chooses one of the candidates, or nothing. */
  pick(selection: Selection): Server | undefined {
    if (this.#candidates.servers.length === 0) return undefined;
    return this.algorithm.pick(this.#candidates, selection);
  }

  [Symbol.dispose](): void {
    this.algorithm[Symbol.dispose]?.();
  }
}
