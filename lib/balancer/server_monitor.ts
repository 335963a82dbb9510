/** Connects active checks, ejection and slow start of one pool. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { Ejection } from "../health/ejection.ts";
import { resolveEjection } from "../health/ejection_options.ts";
import { HealthChecker } from "../health/health_checker.ts";
import type { LastCheck } from "../health/server_check.ts";
import { SlowStart } from "../health/slow_start.ts";
import type { Server } from "../upstream/server.ts";
import type { Pool } from "../upstream/pool.ts";
import type { SharedServers } from "../upstream/shared_servers.ts";
import type { LoadBalancerInit } from "./load_balancer_options.ts";

/** Options of {@linkcode ServerMonitor}. */
interface ServerMonitorInit extends LoadBalancerInit {
  clock: Clock;
  random: Random;
  /** Called when the extra checks that {@linkcode ServerMonitor.mayComeUp} started have ended. */
  onLooked?: () => void;
  /** Called after the supervisor has read changes by workers. */
  onFollowed?: () => void;
}

/** How long the supervisor collects changes by workers before it reads them, in milliseconds. */
const FOLLOW_MS = 10;
/** How often it reads without a notice, in milliseconds. */
const POLL_MS = 1000;

/**
 * Begins slow start when a server becomes healthy or recovers from an ejection, and ends an ejection early when a check
 * tests what failed.
 */
export class ServerMonitor implements Disposable, AsyncDisposable {
  readonly #slowStart: SlowStart | null;
  /** Records outcomes of requests; `null` if ejection is off. */
  readonly ejection: Ejection | null;
  readonly #checker: HealthChecker | null;
  readonly #remoteChecks: RemoteChecks | null;
  readonly #worker: boolean;
  #following: Disposable | null = null;

  constructor(init: ServerMonitorInit) {
    const { pool, clock, slowStart = null, ejection = resolveEjection(), worker = false } = init;
    this.#worker = worker;
    // The supervisor checks servers, ramps their weights and ends their ejections, for all workers.
    this.#slowStart = slowStart === null || worker ? null : new SlowStart(pool, slowStart, clock);
    this.#remoteChecks = worker && init.healthCheck !== undefined && init.healthCheck !== null
      ? new RemoteChecks(init)
      : null;
    this.ejection = ejection === null ? null : new Ejection({
      pool,
      options: ejection,
      clock,
      timers: !worker,
      onChange: (server, ejected, reason) => {
        const { onEjection } = init;
        if (onEjection === undefined) return;
        callAside(
          () => onEjection(server, ejected, reason),
          (error) => tellStrayError("onEjection", error),
        );
      },
      onRestored: (server) => this.#slowStart?.begin(server),
    });
    this.#checker = worker ? null : this.#createChecker(init);
    if (pool.shared !== null && !worker) this.#followWorkers(pool, pool.shared, init);
  }

  /** Reacts to changes by workers, which only change numbers in shared memory. */
  #followWorkers(pool: Pool, shared: SharedServers, { clock, onFollowed }: ServerMonitorInit): void {
    let { changes, looks } = shared;
    let timer: Disposable;
    let isSoon = false;
    const follow = (): void => {
      const changed = changes !== shared.changes;
      const isCheckRequested = looks !== shared.looks;
      ({ changes, looks } = shared);
      if (changed) this.ejection?.followWorkers();
      if (isCheckRequested) this.#checker?.lookAgain([]);
      pool.sweep();
      onFollowed?.();
      isSoon = false;
      timer = clock.setTimer(follow, POLL_MS);
    };
    timer = clock.setTimer(follow, POLL_MS);
    const subscription = shared.follow(() => {
      if (isSoon) return;
      isSoon = true;
      timer[Symbol.dispose]();
      timer = clock.setTimer(follow, FOLLOW_MS);
    });
    this.#following = {
      [Symbol.dispose](): void {
        subscription[Symbol.dispose]();
        timer[Symbol.dispose]();
      },
    };
  }

  /** Takes over the state of servers that are in both pools. */
  takeOver(before: ServerMonitor, adopted: readonly Server[], fresh: readonly Server[]): void {
    // In workers, the supervisor manages the state of servers.
    if (this.#worker) return;
    if (this.ejection === null) { for (const server of adopted) server.setEjected(false); }
    else if (before.ejection !== null) this.ejection.takeOver(before.ejection, adopted);
    if (this.#slowStart === null) { for (const server of adopted) server.setRamp(1); }
    else this.#slowStart.takeOver(before.#slowStart, adopted, fresh);
    if (this.#checker === null) { for (const server of adopted) server.setHealth("up"); }
    else this.#checker.takeOver(before.#checker, adopted);
  }

  /** Starts the checks; resolves when the first round is over. */
  start(): Promise<void> {
    return this.#checker?.firstRound() ?? Promise.resolve();
  }

  /** Ends all slow starts: every server gets its full weight now. */
  endSlowStarts(): void {
    this.#slowStart?.finish();
  }

  /** The last active check of a server; `null` without one. */
  lastCheck(server: Server): LastCheck | null {
    return this.#checker === null ? null : this.#checker.lastCheck(server);
  }

  /** The ejected server to try; `"busy"` if each ejected server already has a trial request. */
  lastResort(exclude: readonly Server[]): Server | "busy" | null {
    return this.ejection === null ? null : this.ejection.lastResort(exclude);
  }

  /**
   * Whether a request should wait because a check of an unhealthy server is running.
   *
   * @param look whether to check such servers now
   */
  mayComeUp(exclude: readonly Server[], look: boolean): boolean {
    if (this.#remoteChecks !== null) return this.#remoteChecks.mayComeUp(exclude, look);
    const checker = this.#checker;
    if (checker === null) return false;
    return look ? checker.lookAgain(exclude) : checker.mayComeUp(exclude);
  }

  #createChecker(init: ServerMonitorInit): HealthChecker | null {
    const { pool, clock, random, healthCheck: check = null, onHealthChange, onCheckImpossible } = init;
    if (check === null) return null;
    return new HealthChecker({
      pool,
      check,
      ...(init.probe === undefined ? {} : { probe: init.probe }),
      clock,
      random,
      onResult: (server, passed) => {
        if (passed) this.ejection?.checkPassed(server, check.reach);
        else this.ejection?.checkFailed(server);
      },
      ...(onCheckImpossible === undefined ? {} : { onImpossible: onCheckImpossible }),
      ...(init.onLooked === undefined ? {} : { onLooked: init.onLooked }),
      onChange: (server, healthy, reason) => {
        if (healthy) this.#slowStart?.begin(server);
        return onHealthChange?.(server, healthy, reason);
      },
    });
  }

  [Symbol.dispose](): void {
    this.#following?.[Symbol.dispose]();
    this.#remoteChecks?.[Symbol.dispose]();
    this.#checker?.[Symbol.dispose]();
    this.ejection?.[Symbol.dispose]();
    this.#slowStart?.[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.#checker?.[Symbol.asyncDispose]();
  }
}

/** How long a request waits for extra checks by the supervisor, in milliseconds. */
const EXTRA_CHECK_WAIT_MS = 150;

/** Requests extra checks of unhealthy servers from the supervisor, when a request has no other server. */
class RemoteChecks implements Disposable {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #onLooked: (() => void) | undefined;
  #requestedAt = -Infinity;
  #timer: Disposable | null = null;

  constructor({ pool, clock, onLooked }: ServerMonitorInit) {
    this.#pool = pool;
    this.#clock = clock;
    this.#onLooked = onLooked;
  }

  /** Same as `HealthChecker.lookAgain` and its `mayComeUp`. */
  mayComeUp(exclude: readonly Server[], look: boolean): boolean {
    const now = this.#clock.now();
    const down = this.#pool.servers.some((server) =>
      !server.healthy && server.enabled && !server.draining && server.weight > 0 && !exclude.includes(server)
    );
    if (!down) return false;
    if (look && now - this.#requestedAt >= EXTRA_CHECK_WAIT_MS) {
      this.#requestedAt = now;
      this.#pool.shared!.look();
      this.#timer ??= this.#clock.setTimer(() => {
        this.#timer = null;
        this.#onLooked?.();
      }, EXTRA_CHECK_WAIT_MS);
    }
    return now - this.#requestedAt < EXTRA_CHECK_WAIT_MS;
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }
}
