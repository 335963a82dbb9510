/** Servers, their health, and the choice between them. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { Cancellation } from "../core/cancellation.ts";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { resolveEjection } from "../health/ejection_options.ts";
import { resolveHealthCheck } from "../health/health_check_options.ts";
import { resolveSlowStart } from "../health/slow_start.ts";
import { Pool, type ServerLike } from "../upstream/pool.ts";
import type { Outcome, Server, Stage } from "../upstream/server.ts";
import { type PickRequest, Selection } from "./algorithm.ts";
import { createAlgorithm } from "./create_algorithm.ts";
import type { LoadBalancerInit, LoadBalancerOptions } from "./load_balancer_options.ts";
import { resolveSticky } from "./sticky_options.ts";
import { StickySessions } from "./sticky_sessions.ts";
import { Supervision } from "./supervision.ts";
import { Tier } from "./tier.ts";
import { type Claim, type ClaimAttempt, type Refusal, resolveQueue, WaitingLine } from "./waiting_line.ts";

export type { LoadBalancerOptions } from "./load_balancer_options.ts";

/** Who waits without a queue: for servers that are down and just being checked, which takes a moment. */
const MOMENT = { size: 100, timeoutMs: 1000 };
const NOBODY: readonly Server[] = [];

/**
 * Chooses the server for a request among those of a pool that can take one.
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
  /** The servers; to be changed while it runs. */
  readonly pool: Pool;
  /** What ties clients to servers; `null` when nothing does. */
  readonly sticky: StickySessions | null;
  readonly #tiers: readonly [Tier, Tier];
  readonly #supervision: Supervision;
  readonly #line: WaitingLine;
  /** Whether requests may wait for room. */
  readonly #queued: boolean;
  readonly #maxInFlight: number;
  readonly #panicThreshold: number;
  readonly #onPanic: LoadBalancerInit["onPanic"];
  #version = -1;
  #membership = -1;
  #panic = false;

  /** Use {@linkcode LoadBalancer.from} unless there is a pool already. */
  constructor(init: LoadBalancerInit) {
    const { pool, balance = "round-robin", clock = systemClock, random = systemRandom } = init;
    const { maxInFlight = Infinity, panicThreshold = 0, loadFactor = Infinity, queue, onPanic } = init;
    const { sticky = null } = init;
    this.pool = pool;
    this.sticky = sticky === null ? null : new StickySessions(pool, sticky);
    this.#maxInFlight = maxInFlight;
    this.#panicThreshold = panicThreshold;
    this.#onPanic = onPanic;
    const parts = { clock, random, loadFactor, onError: init.onBalanceError };
    this.#tiers = [
      new Tier(createAlgorithm(balance, parts), pool),
      new Tier(createAlgorithm(balance, parts), pool),
    ];
    this.#supervision = new Supervision({ ...init, clock, random, onLooked: () => this.#line.wake() });
    this.#line = new WaitingLine(queue ?? MOMENT, clock);
    this.#queued = queue !== undefined && queue !== null;
    if (this.#tiers[0].algorithm.loadChanged !== undefined) {
      pool.onLoad = (server) => this.#loadChanged(server);
    }
    this.#refresh();
  }

  /**
   * Makes a load balancer of addresses (`"host:port"`), or of addresses with weights and more.
   *
   * @throws {TypeError} when an address or an option cannot be read, or an address is there twice
   */
  static from(servers: Iterable<ServerLike>, options: LoadBalancerOptions = {}): LoadBalancer {
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

  /** How many requests wait for a server. */
  get waiting(): number {
    return this.#line.length;
  }

  /** Whether so few servers are up that all are used; as of the last choice. */
  get panic(): boolean {
    return this.#panic;
  }

  /**
   * Chooses a server, or nothing when there is none that may be sent a request; never throws.
   *
   * @param key what hashing algorithms hash
   * @param maxIterations how many servers may be passed over because they are full
   */
  select(key?: string | Uint8Array, maxIterations = 256): Server | undefined {
    return this.pick({ key }, maxIterations);
  }

  /** Chooses a server that the request has not tried; nothing when there is none; never throws. */
  pick(request: PickRequest, maxIterations = Infinity): Server | undefined {
    if (this.#version !== this.pool.version) this.#refresh();
    if (this.pool.inFlight >= this.#maxInFlight) return undefined;
    const kept = this.sticky === null ? undefined : this.sticky.find(request);
    if (kept !== undefined) return kept;
    const selection = new Selection(request, maxIterations);
    return this.#tiers[0].pick(selection) ?? this.#tiers[1].pick(selection);
  }

  /**
   * Chooses a server and counts the request in; waits in the queue while servers are full. A request that does not
   * have to wait is answered at once, without a promise.
   *
   * When no server may be used, one that is ejected is tried, or those that are down are checked, and the request waits
   * for that a moment.
   */
  claim(
    request: PickRequest,
    cancellation: Cancellation | null = null,
  ): Claim | Refusal | Promise<Claim | Refusal> {
    // Who waits already goes first.
    const attempt = this.#queued && this.#line.blocked ? "full" : this.#tryClaim(request, true);
    if (typeof attempt !== "string" || attempt === "none_eligible") return attempt;
    if (attempt === "full" && !this.#queued) return "queue_full";
    const choosy = request.exclude !== undefined && request.exclude.length > 0;
    const joined = this.#line.join(() => this.#tryClaim(request, false), choosy, cancellation);
    if (typeof joined === "string") return attempt === "down" ? "none_eligible" : joined;
    this.pool.onRoom = this.#onRoom;
    return joined;
  }

  readonly #onRoom = (): void => {
    this.#line.wake();
    if (this.#line.length === 0) this.pool.onRoom = null;
  };

  /**
   * Takes in how a request to a server ended; to be called before its lease is released.
   *
   * @param latencyMs how long it took until its response began, or until it failed
   * @param stage how far it got
   */
  report(server: Server, outcome: Outcome, latencyMs: number, stage: Stage = "response"): void {
    server.count(outcome);
    this.#tiers[server.backup ? 1 : 0].algorithm.observe?.(server, outcome, latencyMs);
    this.#supervision.record(server, outcome, latencyMs, stage);
  }

  /**
   * Begins with the active checks, if any are configured.
   *
   * @returns a promise that is fulfilled when every server was checked once, after the timeout of a check at the latest
   */
  startHealthChecks(): Promise<void> {
    return this.#supervision.start();
  }

  /**
   * Makes it ready for the first request: whoever is there by now does not start slowly, since somebody has to do the
   * work, and what a way of choosing needs is built.
   */
  prepare(): void {
    this.#supervision.endSlowStarts();
    this.#refresh();
    for (const { algorithm, candidates } of this.#tiers) algorithm.prepare?.(candidates);
  }

  /** @param look whether servers that are down are checked when there is no other */
  #tryClaim(request: PickRequest, look: boolean): ClaimAttempt {
    const server = this.pick(request);
    if (server !== undefined) return { server, lease: server.acquire() };
    // What was not chosen although it may be used and was not tried must be full.
    const { exclude = NOBODY } = request;
    const waits = this.#tiers.some(({ candidates }) =>
      candidates.servers.some((other) => !exclude.includes(other))
    );
    if (waits) return "full";
    const ejected = this.pool.inFlight < this.#maxInFlight ? this.#supervision.lastResort(exclude) : null;
    if (ejected === "busy") return "full";
    if (ejected !== null) return { server: ejected, lease: ejected.acquireTrial() };
    return this.#supervision.mayComeUp(exclude, look) ? "down" : "none_eligible";
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
    for (const tier of this.#tiers) tier.refresh(this.#panicThreshold);
    this.#version = pool.version;
    const { panic } = this.#tiers[0];
    if (panic === this.#panic) return;
    this.#panic = panic;
    const onPanic = this.#onPanic;
    if (onPanic !== undefined) callAside(() => onPanic(panic), (error) => tellStrayError("onPanic", error));
  }

  /** Ends the checks, sends away who waits, and lets the pool go. */
  [Symbol.dispose](): void {
    // First: what ends makes servers eligible that nobody has checked.
    this.#line[Symbol.dispose]();
    this.#supervision[Symbol.dispose]();
    for (const tier of this.#tiers) tier[Symbol.dispose]();
    this.pool[Symbol.dispose]();
  }

  /** The same, and waits until checks that ran have let go of their connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.#supervision[Symbol.asyncDispose]();
  }
}
