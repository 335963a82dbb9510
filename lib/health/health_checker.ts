/** Checks all servers of a pool on a schedule. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import { CoarseTimers } from "../core/cancellation.ts";
import type { Random } from "../core/random.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Health, Server } from "../upstream/server.ts";
import type { ResolvedHealthCheck } from "./health_check_options.ts";
import type { Probe } from "./probe.ts";
import { type CheckResult, HealthState, type LastCheck, ServerCheck } from "./server_check.ts";

/**
 * Called when a server becomes healthy or unhealthy; `reason` says why it is unhealthy. Checks do not wait for it. Its
 * errors are reported.
 */
export type HealthChange = (server: Server, healthy: boolean, reason: string) => void;

/** Called when a server cannot be checked because this machine lacks a resource; `reason` names it. */
type CheckImpossible = (server: Server, reason: string) => void;

/** Options of {@linkcode HealthChecker}. */
interface HealthCheckerInit {
  pool: Pool;
  check: ResolvedHealthCheck;
  /** Used instead of the probe of the check. */
  probe?: Probe;
  clock: Clock;
  random: Random;
  /** Called when a server becomes unhealthy or healthy; not when it passes its first check. */
  onChange?: HealthChange;
  /** Called with the result of every check that was possible. */
  onResult?: (server: Server, passed: boolean) => void;
  /** Called when a check was impossible, once until that server can be checked again. The servers keep their health. */
  onImpossible?: CheckImpossible;
  /** Called when the extra checks by {@linkcode HealthChecker.lookAgain} have ended. */
  onLooked?: () => void;
}

/** Most checks at the same time; a firewall could take more for an attack. */
const MAX_RUNNING = 100;

/** From so many servers on, checks share timers: a timer per server would cost more than its check. */
const SHARED_TIMERS_FROM = 40;

/** How long to wait for cancelled checks, in milliseconds: a function that ignores its signal may never end. */
const CANCEL_WAIT_MS = 1000;

/** Shortest time between two rounds of extra checks of unhealthy servers, in milliseconds. */
const EXTRA_CHECK_GAP_MS = 50;

/** How long a request waits for extra checks, in milliseconds: long enough for a working server, shorter than the timeout. */
const EXTRA_CHECK_WAIT_MS = 100;

/** Most extra checks at once; servers whose last check was longest ago are first. */
const MAX_EXTRA_CHECKS = 16;

function isWanted(server: Server): boolean {
  return server.enabled && !server.draining && server.weight > 0;
}

/**
 * Checks every server of a pool, also those that are added later, and sets their health.
 *
 * A server has at most one check at a time, so checks that hang do not pile up.
 */
export class HealthChecker implements Disposable, AsyncDisposable {
  readonly #init: HealthCheckerInit;
  readonly #checks = new Map<Server, ServerCheck>();
  /** Checks that are due but wait because too many are running. */
  readonly #waiting = new Set<ServerCheck>();
  readonly #firstRound = Promise.withResolvers<void>();
  /** Servers whose first check has not ended. */
  readonly #unchecked = new Set<Server>();
  /** Shared timers for pools with many servers; late by up to a twentieth of an interval. */
  readonly #sharedTimers: CoarseTimers;
  #running = 0;
  /** The server whose check was impossible first; `null` when it can be checked again. */
  #impossible: Server | null = null;
  /** Servers with an extra check that a request may wait for. */
  readonly #extraChecks = new Set<Server>();
  #extraCheckedAt = -Infinity;
  #extraTimer: Disposable | null = null;
  #subscription: Disposable | null = null;
  #roundTimer: Disposable | null = null;
  #disposed = false;

  constructor(init: HealthCheckerInit) {
    this.#init = init;
    const { clock, check: { intervalMs, unhealthyIntervalMs, timeoutMs } } = init;
    this.#sharedTimers = new CoarseTimers(
      clock,
      Math.min(intervalMs, unhealthyIntervalMs, timeoutMs) / SHARED_TIMERS_FROM,
    );
  }

  /** Checks every server at once, then on schedule. A second call does nothing. */
  start(): void {
    if (this.#subscription !== null || this.#disposed) return;
    const { pool, clock, check } = this.#init;
    this.#subscription = pool.subscribe({
      onAdded: (server) => this.#watch(server),
      onLeaving: (server) => this.#unwatch(server),
    });
    // Servers of the former pool are checked there until `takeOver`.
    const servers = pool.servers.filter((server) => !pool.adopts(server));
    for (const server of servers) this.#unchecked.add(server);
    if (this.#unchecked.size === 0) this.#firstRound.resolve();
    else this.#roundTimer = clock.setTimer(() => this.#firstRound.resolve(), check.timeoutMs);
    for (const server of servers) this.#watch(server);
  }

  /**
   * Checks these servers too. Their health does not change until the thresholds of this checker are met.
   *
   * @param before stops checking them; `null` if they were not checked
   */
  takeOver(before: HealthChecker | null, adopted: readonly Server[]): void {
    for (const server of adopted) {
      const known = before === null ? undefined : before.#checks.get(server);
      if (known !== undefined) before!.#unwatch(server);
      this.#watch(server, server.health, known?.state.against);
      if (known !== undefined) this.#checks.get(server)!.last ??= known.last;
    }
  }

  /** Starts if not started, and waits until every server was checked once, at most for the timeout of a check. */
  firstRound(): Promise<void> {
    this.start();
    return this.#firstRound.promise;
  }

  get #probe(): Probe {
    return this.#init.probe ?? this.#init.check.probe;
  }

  #watch(server: Server, health: Health = this.#init.check.initial, against = 0): void {
    const { check, clock } = this.#init;
    server.setHealth(health);
    const timers = this.#checks.size < SHARED_TIMERS_FROM ? clock : this.#sharedTimers;
    const serverCheck = new ServerCheck(server, new HealthState(check, health, against), timers);
    this.#checks.set(server, serverCheck);
    this.#begin(serverCheck);
  }

  #unwatch(server: Server): void {
    const check = this.#checks.get(server);
    if (check === undefined) return;
    this.#checks.delete(server);
    this.#waiting.delete(check);
    if (check.running) this.#running--;
    check[Symbol.dispose]();
    this.#probe.forget?.(server);
    if (this.#impossible === server) this.#impossible = null;
    this.#firstChecked(server);
    this.#beginWaiting();
    this.#extraChecked(server);
  }

  /**
   * Checks unhealthy servers ahead of schedule, because a request has no other server. Limits how often.
   *
   * @returns {@linkcode mayComeUp}
   */
  lookAgain(exclude: readonly Server[]): boolean {
    const { clock } = this.#init;
    const now = clock.now();
    if (now - this.#extraCheckedAt < EXTRA_CHECK_GAP_MS || this.#disposed) return this.mayComeUp(exclude);
    this.#extraCheckedAt = now;
    const down = [...this.#checks.values()]
      .filter(({ server, state }) => state.health !== "up" && isWanted(server))
      .sort((one, other) => one.startedAt - other.startedAt)
      .slice(0, MAX_EXTRA_CHECKS);
    for (const check of down) {
      // A check that has been running for long will not end soon, so no request waits for it.
      const due = !check.running && this.#running < MAX_RUNNING && !this.#waiting.has(check);
      if (due) this.#begin(check);
      if (check.running && now - check.startedAt < EXTRA_CHECK_WAIT_MS) this.#extraChecks.add(check.server);
    }
    if (this.#extraChecks.size > 0) {
      this.#extraTimer ??= clock.setTimer(() => this.#endExtraChecks(), EXTRA_CHECK_WAIT_MS);
    }
    return this.mayComeUp(exclude);
  }

  /** The result of the last check of a server; `null` before the first. */
  lastCheck(server: Server): LastCheck | null {
    return this.#checks.get(server)?.last ?? null;
  }

  /** Whether a request should wait because an extra check of a server other than these is running. */
  mayComeUp(exclude: readonly Server[]): boolean {
    for (const server of this.#extraChecks) if (isWanted(server) && !exclude.includes(server)) return true;
    return false;
  }

  #extraChecked(server: Server): void {
    if (this.#extraChecks.delete(server) && this.#extraChecks.size === 0) this.#endExtraChecks();
  }

  #endExtraChecks(): void {
    this.#extraTimer?.[Symbol.dispose]();
    this.#extraTimer = null;
    this.#extraChecks.clear();
    this.#init.onLooked?.();
  }

  #begin(check: ServerCheck): void {
    if (this.#running >= MAX_RUNNING) {
      this.#waiting.add(check);
      return;
    }
    this.#running++;
    const { check: { timeoutMs }, clock } = this.#init;
    const { server, state } = check;
    const startedAt = check.startedAt = clock.now();
    check.run(this.#probe, timeoutMs, (result) => {
      this.#running--;
      check.last = { result, startedAt, durationMs: clock.now() - startedAt };
      const changed = this.#apply(check, result);
      // Before the callbacks, which may remove the server from the pool.
      check.schedule(() => this.#begin(check), this.#delay(state.health, startedAt));
      this.#beginWaiting();
      this.#report(server, result, changed);
      this.#extraChecked(server);
    });
  }

  #beginWaiting(): void {
    for (const check of this.#waiting) {
      if (this.#running >= MAX_RUNNING) return;
      this.#waiting.delete(check);
      this.#begin(check);
    }
  }

  #delay(health: Health, startedAt: number): number {
    const { check, clock, random } = this.#init;
    const intervalMs = health === "down" ? check.unhealthyIntervalMs : check.intervalMs;
    const dueAt = startedAt + intervalMs * (1 + check.jitter * (2 * random() - 1));
    return Math.max(0, dueAt - clock.now());
  }

  /** Applies a result; returns whether the server became unhealthy or healthy. */
  #apply({ server, state }: ServerCheck, result: CheckResult): boolean {
    const before = state.health;
    if (result.kind === "impossible") return false;
    if (!state.observe(result.kind === "passed")) return false;
    server.setHealth(state.health);
    return before !== "checking" || state.health === "down";
  }

  #report(server: Server, result: CheckResult, changed: boolean): void {
    this.#firstChecked(server);
    const passed = result.kind === "passed";
    if (result.kind === "impossible") return this.#reportImpossible(server, result.reason);
    if (this.#impossible === server) this.#impossible = null;
    const { onResult, onChange } = this.#init;
    onResult?.(server, passed);
    if (!changed || onChange === undefined) return;
    // Checks must go on if a function of the configuration throws.
    callAside(
      () => onChange(server, passed, passed ? "" : result.reason),
      (error) => tellStrayError("onHealthChange", error),
    );
  }

  #reportImpossible(server: Server, reason: string): void {
    if (this.#impossible !== null) return;
    this.#impossible = server;
    const { onImpossible } = this.#init;
    if (onImpossible === undefined) return;
    callAside(
      () => onImpossible(server, reason),
      (error) => tellStrayError("onCheckImpossible", error),
    );
  }

  #firstChecked(server: Server): void {
    if (!this.#unchecked.delete(server) || this.#unchecked.size > 0) return;
    this.#roundTimer?.[Symbol.dispose]();
    this.#firstRound.resolve();
  }

  /** Stops the checks; the servers keep their health. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#subscription?.[Symbol.dispose]();
    this.#roundTimer?.[Symbol.dispose]();
    this.#extraTimer?.[Symbol.dispose]();
    this.#extraChecks.clear();
    this.#waiting.clear();
    this.#sharedTimers[Symbol.dispose]();
    for (const check of this.#checks.values()) {
      check[Symbol.dispose]();
      this.#probe.forget?.(check.server);
      // The server will never be checked: without checks every server counts as healthy.
      if (check.server.health === "checking") check.server.setHealth("up");
    }
    this.#firstRound.resolve();
  }

  /** Stops the checks, and waits for a limited time until running ones have closed their connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    const { promise: over, resolve } = Promise.withResolvers<void>();
    using _timer = this.#init.clock.setTimer(resolve, CANCEL_WAIT_MS);
    await Promise.race([over, Promise.all([...this.#checks.values()].map(({ idle }) => idle))]);
    this.#checks.clear();
  }
}
