/** Active checks of all servers of a pool, on a schedule. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import { CoarseTimers } from "../core/coarse_timers.ts";
import type { Random } from "../core/random.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Health, Server } from "../upstream/server.ts";
import type { ResolvedHealthCheck } from "./health_check_options.ts";
import { HealthState } from "./health_state.ts";
import type { Probe } from "./probe.ts";
import { type CheckResult, ServerCheck } from "./server_check.ts";

export type { HealthCheckOptions, ResolvedHealthCheck } from "./health_check_options.ts";

/**
 * Told when a server has come up or gone down; `reason` says why it is down. Nobody waits for it; what it throws, or
 * rejects with, is reported.
 */
export type HealthChange = (server: Server, healthy: boolean, reason: string) => void;

/** Told that a server cannot be checked because this machine lacks something, and what. */
export type CheckImpossible = (server: Server, reason: string) => void;

/** What a {@linkcode HealthChecker} is made of. */
export interface HealthCheckerInit {
  pool: Pool;
  check: ResolvedHealthCheck;
  /** In place of the one that belongs to the check. */
  probe?: Probe;
  clock: Clock;
  random: Random;
  /** Called once a flip. A server that passes its very first check has not flipped. */
  onChange?: HealthChange;
  /** Called with every result, unless the check was impossible. */
  onResult?: (server: Server, passed: boolean) => void;
  /** Called with the first of the checks that this machine could not make; the servers count as before. */
  onImpossible?: CheckImpossible;
  /** Called when nothing is to be expected any more of what {@linkcode HealthChecker.lookAgain} has begun. */
  onLooked?: () => void;
}

/** How many checks run at once; more would look like an attack to whatever stands before the servers. */
const MAX_AT_ONCE = 100;

/** From so many servers on checks begin in bundles: waking up for one costs more than the check itself. */
const MANY = 40;

/** How long checks that were called off may take to end; a function that does not care for its signal may never. */
const LAST_WORDS_MS = 1000;

/** How often servers that are down are looked at again at most because requests have no other. */
const LOOK_GAP_MS = 50;

/** How long such a look is waited for: longer than one at a server that works takes, but no timeout of a check. */
const LOOK_PATIENCE_MS = 100;

/** How many are looked at each time, those first that were checked longest ago. */
const LOOK_AT_MOST = 16;

/** One server and what is believed of it. */
interface Watched {
  readonly check: ServerCheck;
  readonly state: HealthState;
  /** When its last check began. */
  startedAt: number;
}

function isWanted(server: Server): boolean {
  return server.enabled && !server.draining && server.weight > 0;
}

/**
 * Checks every server of a pool, those that are added later too, and writes what it finds on the servers.
 *
 * A server is never checked twice at the same time, so checks that hang do not pile up.
 */
export class HealthChecker implements Disposable, AsyncDisposable {
  readonly #init: HealthCheckerInit;
  readonly #watched = new Map<Server, Watched>();
  readonly #waiting = new Set<Watched>();
  readonly #firstRound = Promise.withResolvers<void>();
  /** Servers whose first check has not ended. */
  readonly #unseen = new Set<Server>();
  /** Timers of the servers that are many; up to a twentieth of an interval late. */
  readonly #bundles: CoarseTimers;
  #running = 0;
  /** The server whose check was impossible first; told of until it has been checked. */
  #unchecked: Server | null = null;
  /** Servers that are being looked at because requests have no other. */
  readonly #hopes = new Set<Server>();
  #lookedAt = -Infinity;
  #lookTimer: Disposable | null = null;
  #subscription: Disposable | null = null;
  #roundTimer: Disposable | null = null;
  #disposed = false;

  constructor(init: HealthCheckerInit) {
    this.#init = init;
    const { clock, check: { intervalMs, unhealthyIntervalMs, timeoutMs } } = init;
    this.#bundles = new CoarseTimers(clock, Math.min(intervalMs, unhealthyIntervalMs, timeoutMs) / MANY);
  }

  /** Begins with a check of every server at once; does nothing the second time. */
  start(): void {
    if (this.#subscription !== null || this.#disposed) return;
    const { pool, clock, check } = this.#init;
    this.#subscription = pool.subscribe({
      onAdded: (server) => this.#watch(server),
      onLeaving: (server) => this.#unwatch(server),
    });
    for (const server of pool.servers) this.#unseen.add(server);
    if (this.#unseen.size === 0) this.#firstRound.resolve();
    else this.#roundTimer = clock.setTimer(() => this.#firstRound.resolve(), check.timeoutMs);
    for (const server of pool.servers) this.#watch(server);
  }

  /** Begins if that was not done, and waits until every server was checked once, but not longer than the timeout. */
  firstRound(): Promise<void> {
    this.start();
    return this.#firstRound.promise;
  }

  get #probe(): Probe {
    return this.#init.probe ?? this.#init.check.probe;
  }

  #watch(server: Server): void {
    const { check, clock } = this.#init;
    server.setHealth(check.initial);
    const timers = this.#watched.size < MANY ? clock : this.#bundles;
    const state = new HealthState(check, check.initial);
    const watched: Watched = { check: new ServerCheck(server, timers), state, startedAt: 0 };
    this.#watched.set(server, watched);
    this.#begin(watched);
  }

  #unwatch(server: Server): void {
    const watched = this.#watched.get(server);
    if (watched === undefined) return;
    this.#watched.delete(server);
    this.#waiting.delete(watched);
    if (watched.check.running) this.#running--;
    watched.check[Symbol.dispose]();
    this.#probe.forget?.(server);
    if (this.#unchecked === server) this.#unchecked = null;
    this.#seen(server);
    this.#beginWaiting();
    this.#lookedAtOne(server);
  }

  /**
   * Checks servers that are down now rather than at their time, since a request has no other; not all the time.
   *
   * @returns {@linkcode mayComeUp}
   */
  lookAgain(exclude: readonly Server[]): boolean {
    const { clock } = this.#init;
    const now = clock.now();
    if (now - this.#lookedAt < LOOK_GAP_MS || this.#disposed) return this.mayComeUp(exclude);
    this.#lookedAt = now;
    const down = [...this.#watched.values()]
      .filter(({ check: { server }, state }) => state.health !== "up" && isWanted(server))
      .sort((one, other) => one.startedAt - other.startedAt)
      .slice(0, LOOK_AT_MOST);
    for (const watched of down) {
      const { check } = watched;
      // One that has been running for long will not end soon.
      const due = !check.running && this.#running < MAX_AT_ONCE && !this.#waiting.has(watched);
      if (due) this.#begin(watched);
      if (check.running && now - watched.startedAt < LOOK_PATIENCE_MS) this.#hopes.add(check.server);
    }
    if (this.#hopes.size > 0) {
      this.#lookTimer ??= clock.setTimer(() => this.#lookIsOver(), LOOK_PATIENCE_MS);
    }
    return this.mayComeUp(exclude);
  }

  /** Whether one of the servers but these may come up in a moment, so that it is worth waiting. */
  mayComeUp(exclude: readonly Server[]): boolean {
    for (const server of this.#hopes) if (isWanted(server) && !exclude.includes(server)) return true;
    return false;
  }

  #lookedAtOne(server: Server): void {
    if (this.#hopes.delete(server) && this.#hopes.size === 0) this.#lookIsOver();
  }

  #lookIsOver(): void {
    this.#lookTimer?.[Symbol.dispose]();
    this.#lookTimer = null;
    this.#hopes.clear();
    this.#init.onLooked?.();
  }

  #begin(watched: Watched): void {
    if (this.#running >= MAX_AT_ONCE) {
      this.#waiting.add(watched);
      return;
    }
    this.#running++;
    const { check, clock } = this.#init;
    const startedAt = watched.startedAt = clock.now();
    watched.check.run(this.#probe, check.timeoutMs, (result) => {
      this.#running--;
      const flipped = this.#believe(watched, result);
      // Before anybody is told, who may take the server out of the pool.
      watched.check.schedule(() => this.#begin(watched), this.#delay(watched.state.health, startedAt));
      this.#beginWaiting();
      this.#tell(watched.check.server, result, flipped);
      this.#lookedAtOne(watched.check.server);
    });
  }

  #beginWaiting(): void {
    for (const watched of this.#waiting) {
      if (this.#running >= MAX_AT_ONCE) return;
      this.#waiting.delete(watched);
      this.#begin(watched);
    }
  }

  #delay(health: Health, startedAt: number): number {
    const { check, clock, random } = this.#init;
    const intervalMs = health === "down" ? check.unhealthyIntervalMs : check.intervalMs;
    const dueAt = startedAt + intervalMs * (1 + check.jitter * (2 * random() - 1));
    return Math.max(0, dueAt - clock.now());
  }

  /** Notes a result; tells whether the server is up or down now and was not before. */
  #believe({ check: { server }, state }: Watched, result: CheckResult): boolean {
    const before = state.health;
    if (result.kind === "impossible") return false;
    if (!state.observe(result.kind === "passed")) return false;
    server.setHealth(state.health);
    return before !== "checking" || state.health === "down";
  }

  #tell(server: Server, result: CheckResult, flipped: boolean): void {
    this.#seen(server);
    const passed = result.kind === "passed";
    if (result.kind === "impossible") return this.#tellOfShortage(server, result.reason);
    if (this.#unchecked === server) this.#unchecked = null;
    const { onResult, onChange } = this.#init;
    onResult?.(server, passed);
    if (!flipped || onChange === undefined) return;
    // The checks go on whatever the function of a user does.
    callAside(
      () => onChange(server, passed, passed ? "" : result.reason),
      (error) => tellStrayError("onHealthChange", error),
    );
  }

  #tellOfShortage(server: Server, reason: string): void {
    if (this.#unchecked !== null) return;
    this.#unchecked = server;
    const { onImpossible } = this.#init;
    if (onImpossible === undefined) return;
    callAside(
      () => onImpossible(server, reason),
      (error) => tellStrayError("onCheckImpossible", error),
    );
  }

  #seen(server: Server): void {
    if (!this.#unseen.delete(server) || this.#unseen.size > 0) return;
    this.#roundTimer?.[Symbol.dispose]();
    this.#firstRound.resolve();
  }

  /** Ends the checks; what they have found stays. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#subscription?.[Symbol.dispose]();
    this.#roundTimer?.[Symbol.dispose]();
    this.#lookTimer?.[Symbol.dispose]();
    this.#hopes.clear();
    this.#waiting.clear();
    this.#bundles[Symbol.dispose]();
    for (const { check } of this.#watched.values()) {
      check[Symbol.dispose]();
      this.#probe.forget?.(check.server);
      // Nobody will ever find out: without checks every server counts as healthy.
      if (check.server.health === "checking") check.server.setHealth("up");
    }
    this.#firstRound.resolve();
  }

  /** Ends the checks and waits until those that ran have let go of their connections, but not for long. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    const { promise: over, resolve } = Promise.withResolvers<void>();
    using _patience = this.#init.clock.setTimer(resolve, LAST_WORDS_MS);
    await Promise.race([over, Promise.all([...this.#watched.values()].map(({ check }) => check.idle))]);
    this.#watched.clear();
  }
}
