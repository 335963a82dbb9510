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

/** The queue of a pool without `queue`: requests wait briefly for extra checks of unhealthy servers. */
const CHECK_QUEUE = { size: 100, timeoutMs: 1000 };
const NO_SERVERS: readonly Server[] = [];

/** How often waiting requests check whether another process has made room, in milliseconds. */
const POLL_MS = 5;
/** How often a request chooses again after another process has filled its server. */
const MAX_TRIES = 8;

/**
 * Chooses an eligible server of a pool for each request.
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
  /** The servers; may be changed at run time. */
  readonly pool: Pool;
  /** @internal Sticky sessions; `null` without them. */
  readonly sticky: StickySessions | null;
  readonly #tiers: readonly [Tier, Tier];
  readonly #monitor: ServerMonitor;
  /** The settings of the algorithms. */
  readonly #balance: readonly [LoadBalancerInit["balance"], number];
  /** The load balancer that has taken over, and receives the outcomes of requests from then on. */
  #successor: LoadBalancer | null = null;
  readonly #line: WaitingLine;
  readonly #clock: Clock;
  /** Timer that checks for room made by other processes, while requests wait. */
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

  /** Makes a load balancer for a pool; without a pool use {@linkcode LoadBalancer.from}. */
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
    this.#monitor = new ServerMonitor({
      ...init,
      clock,
      random,
      onLooked: () => this.#line.wake(),
      onFollowed: () => {
        if (this.#version !== this.#state.version) this.#refresh();
      },
    });
    this.#line = new WaitingLine(queue ?? CHECK_QUEUE, clock, pool.cells);
    this.#queued = queue !== undefined && queue !== null;
    if (this.#tiers[0].algorithm.loadChanged !== undefined) {
      pool.onLoad = (server) => this.#loadChanged(server);
    }
    this.#refresh();
  }

  /**
   * Makes a load balancer for addresses (`"host:port"`), or addresses with weights and other options.
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

  /** Number of requests that wait for a server. */
  get waiting(): number {
    return this.#line.length;
  }

  /** Whether so few servers were up at the last choice that all are used (panic). */
  get panic(): boolean {
    return this.#panic;
  }

  /**
   * Chooses a server; returns `undefined` if none is eligible. Never throws.
   *
   * @param key the key for hashing algorithms
   * @param maxIterations how many full servers may be skipped
   */
  select(key?: string | Uint8Array, maxIterations = 256): Server | undefined {
    return this.pick({ key }, maxIterations);
  }

  /** @internal Chooses a server that the request has not tried; returns `undefined` if there is none. Never throws. */
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
   * Chooses a server and counts the request; waits in the queue while all servers are full. Returns a promise only if
   * the request must wait.
   *
   * If no server is available, tries an ejected one. Without one, checks the unhealthy servers, and the request waits
   * briefly for the result.
   */
  claim(
    request: PickRequest,
    cancellation: Cancellation | null = null,
  ): Claim | Refusal | Promise<Claim | Refusal> {
    // Requests that already wait go first.
    const attempt = this.#queued && this.#line.blocked ? "full" : this.#tryClaim(request, true);
    if (typeof attempt !== "string" || attempt === "none_eligible") return attempt;
    if (attempt === "full" && !this.#queued) return "queue_full";
    const isSelective = request.exclude !== undefined && request.exclude.length > 0;
    const joined = this.#line.join(() => this.#tryClaim(request, false), isSelective, cancellation);
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
   * Reports the outcome of a request to a server; call it before you release the lease.
   *
   * @param outcome `"failure"` without a response, or with one that shows that the server fails; `"ignored"` if the end says
   * nothing about the server, as with most 4xx or if the client disconnected
   * @param latencyMs time until the response began or the request failed
   * @param stage the stage that the request reached: connecting, the TLS handshake, or waiting for a response; `"response"`
   * if a response arrived, whatever its status
   */
  report(
    server: Server,
    outcome: "success" | "failure" | "ignored",
    latencyMs: number,
    stage: "connect" | "tls" | "request" | "response" = "response",
  ): void {
    server.count(outcome);
    const balancer = this.#successor === null ? this : this.#latest();
    if (balancer !== this && !balancer.pool.has(server)) return;
    balancer.#tiers[server.backup ? 1 : 0].algorithm.observe?.(server, outcome, latencyMs);
    balancer.#monitor.ejection?.record(server, outcome, latencyMs, stage);
  }

  #latest(): LoadBalancer {
    // deno-lint-ignore no-this-alias
    let latest: LoadBalancer = this;
    while (latest.#successor !== null) latest = latest.#successor;
    return latest;
  }

  /**
   * Takes over from the load balancer of the former pool. Servers in both pools keep their state, and the same algorithm
   * keeps its turns and estimates. The former load balancer finishes its requests; its checks end.
   *
   * @internal
   */
  takeOver(before: LoadBalancer): void {
    const adopted = this.pool.takeOver();
    const known = new Set(adopted);
    const fresh = this.pool.servers.filter((server) => !known.has(server));
    this.#monitor.takeOver(before.#monitor, adopted, fresh);
    before.#monitor[Symbol.dispose]();
    before.#successor = this;
    const [balance, loadFactor] = this.#balance;
    if (balance === before.#balance[0] && loadFactor === before.#balance[1]) {
      this.#tiers.forEach((tier, rank) => {
        const other = before.#tiers[rank]!;
        [tier.algorithm, other.algorithm] = [other.algorithm, tier.algorithm];
      });
    }
    this.#refresh();
  }

  /** @internal The last active check of a server; `null` without one. */
  lastCheck(server: Server): LastCheck | null {
    return this.#monitor.lastCheck(server);
  }

  /**
   * Starts the active checks, if any are configured.
   *
   * @returns a promise that resolves when every server was checked once, at the latest after the timeout of a check
   */
  startHealthChecks(): Promise<void> {
    return this.#monitor.start();
  }

  /**
   * @internal
   * Prepares for the first request: ends all slow starts, because the existing servers must take the whole load, and
   * builds the data of the algorithm.
   */
  prepare(): void {
    this.#monitor.endSlowStarts();
    this.#refresh();
    for (const { algorithm, candidates } of this.#tiers) algorithm.prepare?.(candidates);
  }

  /** @param look whether to check unhealthy servers if no other can be used */
  #tryClaim(request: PickRequest, look: boolean): ClaimAttempt {
    // Another process may fill a server after it was chosen here.
    let declined = false;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const server = this.pick(request);
      if (server === undefined) {
        declined = this.#hasRoom(request.exclude);
        // A function is asked once for each choice.
        if (!declined || this.pool.shared === null || typeof this.#balance[0] === "function") break;
        continue;
      }
      const lease = server.tryAcquire();
      if (lease !== null) return { server, lease };
    }
    // A `balance` function has chosen none of the candidates. To wait would not help, and would hold up other requests.
    if (declined) return "none_eligible";
    // A candidate that was neither tried nor chosen must be full.
    const { exclude = NO_SERVERS } = request;
    const isFull = this.#tiers.some(({ candidates }) =>
      candidates.servers.some((other) => !exclude.includes(other))
    );
    if (isFull) return "full";
    const monitor = this.#successor === null ? this.#monitor : this.#latest().#monitor;
    const ejected = this.pool.inFlight < this.#maxInFlight ? monitor.lastResort(exclude) : null;
    if (ejected === "busy") return "full";
    if (ejected !== null) {
      const lease = ejected.tryAcquireTrial();
      return lease === null ? "full" : { server: ejected, lease };
    }
    // The new servers of the pool are about to arrive in this process.
    if (this.pool.servers.some((server) => server.outdated)) return "down";
    return monitor.mayComeUp(exclude, look) ? "down" : "none_eligible";
  }

  /** Whether there is a candidate that is not full. */
  #hasRoom(exclude: readonly Server[] = NO_SERVERS): boolean {
    return this.pool.inFlight < this.#maxInFlight &&
      this.#tiers.some(({ candidates }) =>
        candidates.servers.some((server) => !server.full && !exclude.includes(server))
      );
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
    // Before reading state that another process may change at the same time.
    this.#version = pool.version;
    for (const tier of this.#tiers) tier.refresh(this.#panicThreshold);
    const { panic } = this.#tiers[0];
    if (panic === this.#panic) return;
    this.#panic = panic;
    const onPanic = this.#onPanic;
    if (onPanic !== undefined) callAside(() => onPanic(panic), (error) => tellStrayError("onPanic", error));
  }

  /** Stops the checks, refuses waiting requests, and disposes the pool. */
  [Symbol.dispose](): void {
    // The queue first: ending the checks makes unchecked servers eligible, and waiting requests would go to them.
    this.#line[Symbol.dispose]();
    this.#poll?.[Symbol.dispose]();
    this.#monitor[Symbol.dispose]();
    for (const tier of this.#tiers) tier[Symbol.dispose]();
    this.pool[Symbol.dispose]();
  }

  /** Disposes it, and waits until running checks have closed their connections. */
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

  /** Whether the request was sent to a server before. */
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

/** The servers of one rank and their shared state. */
interface Rank {
  /** All servers with weight, available or not. */
  readonly members: readonly Server[];
  /** Requests in flight at all servers of the pool. */
  readonly load: { readonly inFlight: number };
  /** Whether unhealthy and ejected servers are included. */
  readonly panic: boolean;
}

/** Lists the servers that may get requests. */
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

  /** Whether so few servers are up that all are used (panic). */
  get panic(): boolean {
    return this.#panic;
  }

  /** The candidates for a choice. */
  get candidates(): Candidates {
    return this.#candidates;
  }

  /** Sets its members; call {@linkcode refresh} afterwards. */
  setMembers(members: readonly Server[]): void {
    this.#members = members;
  }

  /** Rebuilds the candidates. Panic begins if less than this share of the enabled servers is available. */
  refresh(panicThreshold: number): void {
    const members = this.#members;
    if (panicThreshold > 0) {
      const allowed = members.filter((server) => server.enabled && !server.draining);
      const available = allowed.filter((server) => server.available);
      this.#panic = available.length < panicThreshold * allowed.length;
    }
    this.#candidates = listCandidates({ members, load: this.#load, panic: this.#panic });
  }

  /** Chooses one of the candidates, or `undefined`. */
  pick(selection: Selection): Server | undefined {
    if (this.#candidates.servers.length === 0) return undefined;
    return this.algorithm.pick(this.#candidates, selection);
  }

  [Symbol.dispose](): void {
    this.algorithm[Symbol.dispose]?.();
  }
}
