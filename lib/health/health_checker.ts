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
 * Called when a server has come up or gone down; `reason` says why it is down. The checks do not wait for it; its errors
 * are reported.
 */
export type HealthChange = (server: Server, healthy: boolean, reason: string) => void;

/** Called when a server cannot be checked because this machine lacks something; `reason` says what. */
type CheckImpossible = (server: Server, reason: string) => void;

/** What a {@linkcode HealthChecker} is made of. */
interface HealthCheckerInit {
  pool: Pool;
  check: ResolvedHealthCheck;
  /** Used instead of the probe of the check. */
  probe?: Probe;
  clock: Clock;
  random: Random;
  /** Called when a server goes down or comes up; not when it passes its first check. */
  onChange?: HealthChange;
  /** Called with the result of every check that was possible. */
  onResult?: (server: Server, passed: boolean) => void;
  /** Called when a check was impossible, once until a check is possible again; the servers keep their health. */
  onImpossible?: CheckImpossible;
  /** Called when the checks that {@linkcode HealthChecker.lookAgain} waits for are over. */
  onLooked?: () => void;
}

/** Most checks at once; more could look like an attack to a firewall. */
const MAX_AT_ONCE = 100;

/** From so many servers on, checks share timers: a timer for each would cost more than the check. */
const MANY = 40;

/** How long to wait for cancelled checks to end; a function that ignores its signal may never end. */
const CANCEL_PATIENCE_MS = 1000;

/** Shortest time between two extra checks of servers that are down. */
const LOOK_GAP_MS = 50;

/** How long a request waits for an extra check: a server that works takes less; a timeout would take too long. */
const LOOK_PATIENCE_MS = 100;

/** Most extra checks at once; servers that were checked longest ago come first. */
const LOOK_AT_MOST = 16;

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
  /** Checks that are due while too many run. */
  readonly #waiting = new Set<ServerCheck>();
  readonly #firstRound = Promise.withResolvers<void>();
  /** Servers whose first check has not ended. */
  readonly #unchecked = new Set<Server>();
  /** Shared timers for pools of many servers; up to a twentieth of an interval late. */
  readonly #sharedTimers: CoarseTimers;
  #running = 0;
  /** The server whose check was impossible first; `null` once it could be checked. */
  #impossible: Server | null = null;
  /** Servers with an extra check that a request may wait for. */
  readonly #hopes = new Set<Server>();
  #lookedAt = -Infinity;
  #lookTimer: Disposable | null = null;
  #subscription: Disposable | null = null;
  #roundTimer: Disposable | null = null;
  #disposed = false;

  constructor(init: HealthCheckerInit) {
    this.#init = init;
    const { clock, check: { intervalMs, unhealthyIntervalMs, timeoutMs } } = init;
    this.#sharedTimers = new CoarseTimers(clock, Math.min(intervalMs, unhealthyIntervalMs, timeoutMs) / MANY);
  }

  /** Checks every server at once, then on schedule; does nothing the second time. */
  start(): void {
    if (this.#subscription !== null || this.#disposed) return;
    const { pool, clock, check } = this.#init;
    this.#subscription = pool.subscribe({
      onAdded: (server) => this.#watch(server),
      onLeaving: (server) => this.#unwatch(server),
    });
    // Those of the pool before this one are checked there, until this one takes over.
    const servers = pool.servers.filter((server) => !pool.adopts(server));
    for (const server of servers) this.#unchecked.add(server);
    if (this.#unchecked.size === 0) this.#firstRound.resolve();
    else this.#roundTimer = clock.setTimer(() => this.#firstRound.resolve(), check.timeoutMs);
    for (const server of servers) this.#watch(server);
  }

  /**
   * Checks these servers too, whose health stays what it is until the thresholds of this checker are met.
   *
   * @param before checks them no more; `null` where nobody did
   */
  takeOver(before: HealthChecker | null, adopted: readonly Server[]): void {
    for (const server of adopted) {
      const known = before === null ? undefined : before.#checks.get(server);
      if (known !== undefined) before!.#unwatch(server);
      this.#watch(server, server.health, known?.state.against);
      if (known !== undefined) this.#checks.get(server)!.last ??= known.last;
    }
  }

  /** Starts unless started, and waits until every server was checked once, but not longer than the timeout. */
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
    const timers = this.#checks.size < MANY ? clock : this.#sharedTimers;
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
   * Checks servers that are down before their time, since a request has no other server; not too often.
   *
   * @returns {@linkcode mayComeUp}
   */
  lookAgain(exclude: readonly Server[]): boolean {
    const { clock } = this.#init;
    const now = clock.now();
    if (now - this.#lookedAt < LOOK_GAP_MS || this.#disposed) return this.mayComeUp(exclude);
    this.#lookedAt = now;
    const down = [...this.#checks.values()]
      .filter(({ server, state }) => state.health !== "up" && isWanted(server))
      .sort((one, other) => one.startedAt - other.startedAt)
      .slice(0, LOOK_AT_MOST);
    for (const check of down) {
      // A check that has run for long will not end soon.
      const due = !check.running && this.#running < MAX_AT_ONCE && !this.#waiting.has(check);
      if (due) this.#begin(check);
      if (check.running && now - check.startedAt < LOOK_PATIENCE_MS) this.#hopes.add(check.server);
    }
    if (this.#hopes.size > 0) {
      this.#lookTimer ??= clock.setTimer(() => this.#endLook(), LOOK_PATIENCE_MS);
    }
    return this.mayComeUp(exclude);
  }

  /** What the last check of a server found; `null` before it was checked. */
  lastCheck(server: Server): LastCheck | null {
    return this.#checks.get(server)?.last ?? null;
  }

  /** Whether a server other than these may come up in a moment, so that a request should wait. */
  mayComeUp(exclude: readonly Server[]): boolean {
    for (const server of this.#hopes) if (isWanted(server) && !exclude.includes(server)) return true;
    return false;
  }

  #extraChecked(server: Server): void {
    if (this.#hopes.delete(server) && this.#hopes.size === 0) this.#endLook();
  }

  #endLook(): void {
    this.#lookTimer?.[Symbol.dispose]();
    this.#lookTimer = null;
    this.#hopes.clear();
    this.#init.onLooked?.();
  }

  #begin(check: ServerCheck): void {
    if (this.#running >= MAX_AT_ONCE) {
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
      const flipped = this.#takeIn(check, result);
      // Before the callbacks, which may remove the server from the pool.
      check.schedule(() => this.#begin(check), this.#delay(state.health, startedAt));
      this.#beginWaiting();
      this.#report(server, result, flipped);
      this.#extraChecked(server);
    });
  }

  #beginWaiting(): void {
    for (const check of this.#waiting) {
      if (this.#running >= MAX_AT_ONCE) return;
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

  /** Takes in a result; returns whether the server went down or came up. */
  #takeIn({ server, state }: ServerCheck, result: CheckResult): boolean {
    const before = state.health;
    if (result.kind === "impossible") return false;
    if (!state.observe(result.kind === "passed")) return false;
    server.setHealth(state.health);
    return before !== "checking" || state.health === "down";
  }

  #report(server: Server, result: CheckResult, flipped: boolean): void {
    this.#firstChecked(server);
    const passed = result.kind === "passed";
    if (result.kind === "impossible") return this.#reportImpossible(server, result.reason);
    if (this.#impossible === server) this.#impossible = null;
    const { onResult, onChange } = this.#init;
    onResult?.(server, passed);
    if (!flipped || onChange === undefined) return;
    // The checks go on when a function of the user throws.
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
    this.#lookTimer?.[Symbol.dispose]();
    this.#hopes.clear();
    this.#waiting.clear();
    this.#sharedTimers[Symbol.dispose]();
    for (const check of this.#checks.values()) {
      check[Symbol.dispose]();
      this.#probe.forget?.(check.server);
      // It will never be checked: without checks every server counts as healthy.
      if (check.server.health === "checking") check.server.setHealth("up");
    }
    this.#firstRound.resolve();
  }

  /** Stops the checks and waits until running ones have closed their connections, but not for long. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    const { promise: over, resolve } = Promise.withResolvers<void>();
    using _patience = this.#init.clock.setTimer(resolve, CANCEL_PATIENCE_MS);
    await Promise.race([over, Promise.all([...this.#checks.values()].map(({ idle }) => idle))]);
    this.#checks.clear();
  }
}
