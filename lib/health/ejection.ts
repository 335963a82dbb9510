/** Ejects servers whose requests fail, for a limited time. */

import type { Clock } from "../core/clock.ts";
import { formatDuration } from "../core/units.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Outcome, Server, Stage } from "../upstream/server.ts";
import type { ResolvedEjection } from "./ejection_options.ts";

/** Called when a server is ejected, with reason and duration as text, and when its ejection ends. */
type EjectionChange = (server: Server, ejected: boolean, reason: string) => void;

/** Options of {@linkcode Ejection}. */
interface EjectionInit {
  pool: Pool;
  options: ResolvedEjection;
  clock: Clock;
  /** Whether this process ends ejections when their time is over; for workers the supervisor does. @default {true} */
  timers?: boolean;
  onChange?: EjectionChange;
  /** Called when a server gets its full share of the requests again. */
  onRestored?: (server: Server) => void;
}

/** What an active check tests. */
export interface CheckReach {
  /** How far a check gets. */
  readonly stage: Stage;
  /** Whether the check connects to the port of requests. */
  readonly samePort: boolean;
}

/** The failures and ejections of a server. */
interface History {
  readonly window: FailureWindow;
  /** Number of ejections, minus one for each base time without ejection since the last one. */
  times: number;
  /** When the server last got its full share again. */
  restoredAt: number;
  timer: Disposable | null;
  /** When the timer is due. */
  timerUntil: number;
  /** The last recovery that was reported. */
  seenRestoredAt: number;
  /** The highest rank of the failures since the last success. */
  rowRank: number;
  /** The rank of the failures that caused the ejection. */
  failedRank: number;
  /** When the server was ejected or half opened. Requests that began earlier are ignored. */
  since: number;
  /** When the ejection ends. */
  until: number;
  /** When the server last got a trial request while ejected. */
  triedAt: number;
  /** Whether a request failed after a check had ended the ejection: the check does not test what fails. */
  refuted: boolean;
}

/** The stages of a request in their order. */
const STAGE_RANKS: Readonly<Record<Stage, number>> = { connect: 1, tls: 2, request: 3, response: 4 };

/**
 * Ejects a server when requests to it fail in a row or too often, each time for longer. Never ejects the last available
 * server, or more than a part of the pool. Each base time without ejection lowers the server's count of ejections by one.
 *
 * After an ejection the server is half open: it gets one request at a time until one gets a response. If one fails, the
 * server is ejected again.
 */
export class Ejection implements Disposable {
  readonly #init: EjectionInit;
  readonly #records = new Map<Server, History>();
  readonly #subscription: Disposable;
  /** Difference between the time base that processes share and the clock of this process. */
  readonly #aheadMs: number;

  constructor(init: EjectionInit) {
    const { pool, clock } = init;
    this.#init = init;
    this.#aheadMs = pool.shared === null ? 0 : clock.wallTime() - clock.now();
    this.#subscription = init.pool.subscribe({ onLeaving: (server) => this.#forget(server) });
  }

  #now(): number {
    return this.#init.clock.now() + this.#aheadMs;
  }

  /** Records the outcome of a request and the stage it reached. Call it after the server has counted the request. */
  record(server: Server, outcome: Outcome, latencyMs: number, stage: Stage): void {
    if (server.draining) return;
    if (server.ejected || server.halfOpen) return this.#recordTrial(server, outcome, latencyMs, stage);
    if (outcome === "ignored") return;
    const { options } = this.#init;
    const record = this.#recordOf(server);
    const { window } = record;
    const rank = outcome === "failure" ? STAGE_RANKS[stage] : 0;
    window.record(rank, this.#now());
    // Written only if it changes: processes that share a record would wait for it.
    if (rank > record.rowRank || (rank === 0 && record.rowRank !== 0)) record.rowRank = rank;
    if (rank === 0) return;
    if (server.consecutiveFailures >= options.consecutiveFailures) {
      record.failedRank = record.rowRank;
      this.#eject(server, `${server.consecutiveFailures} requests failed in a row`);
    } else if (
      window.requests >= options.minRequests && window.failures / window.requests >= options.failureRate
    ) {
      record.failedRank = window.highestRank;
      const percent = Math.round(100 * window.failures / window.requests);
      this.#eject(server, `${percent}% of ${window.requests} requests failed`);
    }
  }

  /**
   * Records that an active check has passed. Ends an ejection early if the check tests the stage that had failed.
   *
   * A check that connects proves that requests can connect. A check that gets a response does not prove that requests get
   * one, so the server is half open until a request has got a response.
   */
  checkPassed(server: Server, { stage, samePort }: CheckReach): void {
    if (!server.ejected) return;
    const record = this.#recordOf(server);
    if (record.refuted || STAGE_RANKS[stage] < record.failedRank) return;
    if (samePort && record.failedRank < STAGE_RANKS.request) return this.#restore(server);
    this.#halfOpen(server);
  }

  /** Records that an active check has failed. The next check that passes may end an ejection again. */
  checkFailed(server: Server): void {
    const record = this.#records.get(server);
    if (record !== undefined) record.refuted = false;
  }

  /**
   * The ejected server to try when a request has no other server: the one whose last trial was longest ago.
   *
   * @returns `"busy"` when each ejected server has a trial request already
   */
  lastResort(exclude: readonly Server[]): Server | "busy" | null {
    let chosen: Server | null = null;
    let busy = false;
    for (const server of this.#init.pool.servers) {
      if (!server.ejected || !server.enabled || server.draining || !server.healthy) continue;
      if (server.weight === 0 || exclude.includes(server)) continue;
      if (server.full) busy = true;
      else if (chosen === null || this.#recordOf(server).triedAt < this.#recordOf(chosen).triedAt) {
        chosen = server;
      }
    }
    if (chosen === null) return busy ? "busy" : null;
    this.#recordOf(chosen).triedAt = this.#now();
    return chosen;
  }

  #recordTrial(server: Server, outcome: Outcome, latencyMs: number, stage: Stage): void {
    const record = this.#recordOf(server);
    if (this.#now() - latencyMs < record.since) return;
    if (outcome !== "failure") {
      // Any response ends the trial, also one that does not count as success, such as a 404.
      if (stage === "response") this.#restore(server);
      return;
    }
    if (!server.halfOpen || !this.#othersCanServe(server)) return;
    record.failedRank = STAGE_RANKS[stage];
    const remainingMs = record.until - this.#now();
    if (remainingMs <= 0) return this.#startEjection(server, "the first request after its ejection failed");
    record.refuted = true;
    this.#startEjection(server, "a request failed although its check has passed", remainingMs);
  }

  #eject(server: Server, reason: string): void {
    if (!this.#mayEject(server)) return;
    const { options } = this.#init;
    const record = this.#recordOf(server);
    const forgiven = Math.floor((this.#now() - record.restoredAt) / options.baseMs);
    record.times = Math.max(0, record.times - forgiven);
    record.refuted = false;
    this.#startEjection(server, reason);
  }

  /** @param remainingMs remaining time of an ejection that continues; without it a new one begins */
  #startEjection(server: Server, reason: string, remainingMs?: number): void {
    const { options, onChange } = this.#init;
    const record = this.#recordOf(server);
    if (remainingMs === undefined) record.times++;
    const ms = remainingMs ?? Math.min(options.baseMs * record.times, options.maxMs);
    record.since = this.#now();
    record.until = record.since + ms;
    if (!server.setEjected(true)) return;
    this.#arm(server, record);
    onChange?.(server, true, `${reason}, out for ${formatDuration(Math.round(ms))}`);
  }

  #arm(server: Server, record: History): void {
    const { clock, timers = true } = this.#init;
    if (!timers) return;
    record.timer?.[Symbol.dispose]();
    record.timerUntil = record.until;
    record.timer = clock.setTimer(() => this.#halfOpen(server), Math.max(0, record.until - this.#now()));
  }

  /** Applies changes by workers: starts timers for their ejections, and reports servers that have recovered. */
  followWorkers(): void {
    for (const server of this.#init.pool.servers) {
      const record = this.#recordOf(server);
      if (server.ejected && record.timerUntil !== record.until) this.#arm(server, record);
      if (record.restoredAt === record.seenRestoredAt) continue;
      record.seenRestoredAt = record.restoredAt;
      this.#stopTimer(server);
      this.#init.onRestored?.(server);
    }
  }

  #mayEject(server: Server): boolean {
    const { pool: { servers }, options } = this.#init;
    const most = Math.max(1, Math.floor(servers.length * options.maxEjectedPercent / 100));
    const notServing = servers.reduce((count, other) => count + (other.ejected || other.halfOpen ? 1 : 0), 0);
    return notServing < most && this.#othersCanServe(server);
  }

  #othersCanServe(server: Server): boolean {
    return this.#init.pool.servers.some((other) =>
      other !== server && other.available && !other.halfOpen && other.weight > 0
    );
  }

  /** Makes a server half open: it gets one request at a time. */
  #halfOpen(server: Server): void {
    const record = this.#stopTimer(server);
    record.since = this.#now();
    if (server.setEjected(false, true)) this.#init.onChange?.(server, false, "");
  }

  /** Ends the ejection: the server gets its full share again. */
  #restore(server: Server): void {
    const { timers = true, onChange, onRestored } = this.#init;
    const record = this.#stopTimer(server);
    record.rowRank = 0;
    record.window.clear();
    const { ejected } = server;
    const restored = server.setEjected(false);
    if (!restored && this.#init.pool.shared !== null) return;
    record.restoredAt = this.#now();
    if (timers) record.seenRestoredAt = record.restoredAt;
    if (ejected) onChange?.(server, false, "");
    if (timers) onRestored?.(server);
  }

  #stopTimer(server: Server): History {
    const record = this.#recordOf(server);
    record.timer?.[Symbol.dispose]();
    record.timer = null;
    return record;
  }

  #recordOf(server: Server): History {
    let record = this.#records.get(server);
    if (record === undefined) {
      const { windowMs } = this.#init.options;
      record = server.cells === null
        ? {
          window: new FailureWindow(windowMs),
          times: 0,
          restoredAt: -Infinity,
          timer: null,
          timerUntil: 0,
          seenRestoredAt: -Infinity,
          rowRank: 0,
          failedRank: 0,
          since: 0,
          until: 0,
          triedAt: -Infinity,
          refuted: false,
        }
        : new SharedHistory(server.cells.history, windowMs);
      this.#records.set(server, record);
    }
    return record;
  }

  #forget(server: Server): void {
    this.#records.get(server)?.timer?.[Symbol.dispose]();
    this.#records.delete(server);
  }

  /** Moves the records of these servers from the former ejection to this one. */
  takeOver(before: Ejection, adopted: readonly Server[]): void {
    const { clock } = this.#init;
    for (const server of adopted) {
      const record = before.#records.get(server);
      if (record === undefined) continue;
      before.#forget(server);
      // The record is in shared memory; only the timer is not.
      if (server.cells !== null) continue;
      const { windowMs } = this.#init.options;
      const window = before.#init.options.windowMs === windowMs ? record.window : new FailureWindow(windowMs);
      const { until } = record;
      const timer = server.ejected
        ? clock.setTimer(() => this.#halfOpen(server), Math.max(0, until - this.#now()))
        : null;
      this.#records.set(server, { ...record, window, timer });
    }
  }

  /** Ends all ejections. */
  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    for (const [server, { timer }] of this.#records) {
      timer?.[Symbol.dispose]();
      // Shared state must outlive this process.
      if (server.cells === null) server.setEjected(false);
    }
    this.#records.clear();
  }
}

/** A {@linkcode History} in shared memory. */
class SharedHistory implements History {
  readonly window: FailureWindow;
  timer: Disposable | null = null;
  timerUntil = 0;
  seenRestoredAt: number;
  readonly #numbers: Float64Array;

  constructor(numbers: Float64Array, windowMs: number) {
    this.#numbers = numbers;
    this.window = new FailureWindow(windowMs, numbers.subarray(8));
    this.seenRestoredAt = this.restoredAt;
  }

  get times(): number {
    return this.#numbers[0]!;
  }

  set times(times: number) {
    this.#numbers[0] = times;
  }

  get restoredAt(): number {
    return this.#numbers[1]!;
  }

  set restoredAt(restoredAt: number) {
    this.#numbers[1] = restoredAt;
  }

  get rowRank(): number {
    return this.#numbers[2]!;
  }

  set rowRank(rowRank: number) {
    this.#numbers[2] = rowRank;
  }

  get failedRank(): number {
    return this.#numbers[3]!;
  }

  set failedRank(failedRank: number) {
    this.#numbers[3] = failedRank;
  }

  get since(): number {
    return this.#numbers[4]!;
  }

  set since(since: number) {
    this.#numbers[4] = since;
  }

  get until(): number {
    return this.#numbers[5]!;
  }

  set until(until: number) {
    this.#numbers[5] = until;
  }

  get triedAt(): number {
    return this.#numbers[6]!;
  }

  set triedAt(triedAt: number) {
    this.#numbers[6] = triedAt;
  }

  get refuted(): boolean {
    return this.#numbers[7] !== 0;
  }

  set refuted(refuted: boolean) {
    this.#numbers[7] = refuted ? 1 : 0;
  }
}

// Counts the requests and failures of the recent past.

const BUCKETS = 10;

/** Numbers per bucket: its index in time, requests, failures, and the highest rank of a failure. */
const BUCKET_SIZE = 4;
const INDEX = 0;
const REQUESTS = 1;
const FAILURES = 2;
const RANK = 3;

/** Counts requests and failures in a sliding window of ten buckets; time is an argument. */
export class FailureWindow {
  readonly #bucketMs: number;
  readonly #numbers: Float64Array;
  #latest = 0;

  /** @param numbers 40 numbers to count in; may be shared with other processes */
  constructor(windowMs: number, numbers: Float64Array = new Float64Array(BUCKETS * BUCKET_SIZE)) {
    this.#bucketMs = windowMs / BUCKETS;
    this.#numbers = numbers;
  }

  /** Requests in the window. */
  get requests(): number {
    return this.#sum(REQUESTS);
  }

  /** Failures in the window. */
  get failures(): number {
    return this.#sum(FAILURES);
  }

  /** The highest rank of the failures in the window. */
  get highestRank(): number {
    let highest = 0;
    for (let at = 0; at < BUCKETS * BUCKET_SIZE; at += BUCKET_SIZE) {
      if (this.#isIn(at)) highest = Math.max(highest, this.#numbers[at + RANK]!);
    }
    return highest;
  }

  /**
   * Counts a request.
   *
   * @param rank rank of the failure, 1 to 255; 0 for a success
   */
  record(rank: number, now: number): void {
    // Starts at 1, because an empty bucket has index 0 and must not be in the window.
    const index = this.#latest = Math.floor(now / this.#bucketMs) + 1;
    const numbers = this.#numbers;
    const at = (index % BUCKETS) * BUCKET_SIZE;
    if (numbers[at + INDEX] !== index) {
      numbers[at + INDEX] = index;
      numbers[at + REQUESTS] = numbers[at + FAILURES] = numbers[at + RANK] = 0;
    }
    numbers[at + REQUESTS]!++;
    if (rank === 0) return;
    numbers[at + FAILURES]!++;
    numbers[at + RANK] = Math.max(rank, numbers[at + RANK]!);
  }

  /** Forgets everything. */
  clear(): void {
    this.#numbers.fill(0, 0, BUCKETS * BUCKET_SIZE);
  }

  #sum(what: number): number {
    let sum = 0;
    for (let at = 0; at < BUCKETS * BUCKET_SIZE; at += BUCKET_SIZE) {
      if (this.#isIn(at)) sum += this.#numbers[at + what]!;
    }
    return sum;
  }

  #isIn(at: number): boolean {
    return this.#numbers[at + INDEX]! > this.#latest - BUCKETS;
  }
}
