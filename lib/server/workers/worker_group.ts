/** The workers of a proxy; each is replaced when it ends. */

import { messageOf } from "../../core/callback.ts";
import type { Clock } from "../../core/clock.ts";
import type { Observer } from "../../observe/observer.ts";
import type { PrepareMessage, ToWorker } from "./channel.ts";
import type { ProcessorTime, WorkerProcess } from "./worker_process.ts";

/** How often the supervisor checks that workers are alive, in milliseconds. */
const CHECK_MS = 200;
/** Checks without a heartbeat after which a worker is killed. Not a time: after the machine has slept, that would kill all. */
const MAX_MISSED_CHECKS = 6;
/** The same while a worker loads a configuration: with thousands of servers that blocks its event loop. */
const MAX_MISSED_CHECKS_LOADING = 150;
/** The same for a starved worker: other processes used the processor nearly all the time. */
const MAX_MISSED_CHECKS_STARVED = 50;
/** A worker that has run for so long without a heartbeat, in milliseconds, is not starved. */
const NOT_STARVED_MS = 250;
/** How long a worker that replaces another one may take to listen, in milliseconds. */
const START_MS = 30_000;
/** A worker that has run for so long, in milliseconds, is replaced without delay when it ends. */
const STABLE_MS = 10_000;
const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 30_000;
/** How long workers may take to exit after their grace period, in milliseconds. */
const EXIT_GRACE_MS = 3000;
const TOO_LATE = "it did not end in time";

/** Options of {@linkcode WorkerGroup}. */
interface WorkerGroupOptions {
  readonly count: number;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Starts a worker that listens at these ports; 0 is any free port. Seats are numbered from 1. */
  readonly start: (ports: readonly number[], seat: number) => WorkerProcess;
  /** Releases what a worker held, after it has ended. */
  readonly release: (id: number) => void;
  /** Number of heartbeats of a worker. */
  readonly beatsOf: (id: number) => number;
  /** Number of running requests of a worker at its last heartbeat. */
  readonly runningOf: (id: number) => number;
}

/** A place for one worker: the worker, then its replacement, and so on. */
interface Seat {
  readonly number: number;
  worker: WorkerProcess;
  startedAt: number;
  beats: number;
  missedChecks: number;
  /** The processor time of the worker at the first check without a heartbeat. */
  processorTimeAtFirstMiss: ProcessorTime | null;
  /** How often the worker was replaced. */
  restarts: number;
  /** How many successive workers have ended soon after their start. */
  failures: number;
  timer: Disposable | null;
  /** Whether the seat was removed by {@linkcode WorkerGroup.resize}. */
  retired: boolean;
}

/** The state of a worker, for the admin API. */
interface WorkerSeat {
  /** 1 for the first. */
  readonly number: number;
  /** Number of the process in shared memory. */
  readonly process: number;
  readonly pid: number;
  readonly state: "starting" | "serving" | "stopping";
  readonly uptimeMs: number;
  /** How often the worker was replaced. */
  readonly restarts: number;
}

/**
 * Whether a worker sent no heartbeat because other processes used the processor. Then it is not replaced: a new worker would
 * be starved too, and the running requests would be lost.
 *
 * @param since its processor time at the first check without a heartbeat; `null` if the system does not provide it
 */
export function isStarved(since: ProcessorTime | null, now: ProcessorTime | null): boolean {
  if (since === null || now === null) return false;
  const ranMs = now.ranMs - since.ranMs;
  return ranMs < NOT_STARVED_MS && now.waitedMs - since.waitedMs > ranMs;
}

/** Starts workers, checks that they are alive, and replaces those that are not. */
export class WorkerGroup {
  readonly #options: WorkerGroupOptions;
  readonly #seats: Seat[] = [];
  /** Removed seats whose workers finish their requests. */
  readonly #retired = new Set<Seat>();
  #checkTimer: Disposable | null = null;
  #ports: readonly number[];
  #stopping = false;
  /** How often workers were replaced. */
  restarts = 0;
  /** Number of requests that were cut off when workers stopped. */
  abandonedRequests = 0;

  constructor(options: WorkerGroupOptions, ports: readonly number[]) {
    this.#options = options;
    this.#ports = ports;
  }

  /** The ports that the workers listen at. */
  get ports(): readonly number[] {
    return this.#ports;
  }

  /** How many workers listen. */
  get listening(): number {
    return this.#seats.filter(({ worker }) => worker.listens).length;
  }

  /** The process numbers of all workers, also of those that finish their last requests. */
  get processes(): readonly number[] {
    return this.#all.map(({ worker }) => worker.process);
  }

  get #all(): readonly Seat[] {
    return [...this.#seats, ...this.#retired];
  }

  /** The process numbers of workers that serve. */
  get serving(): readonly number[] {
    return this.#seats.filter(({ worker }) => worker.listens && !worker.stopping).map(({ worker }) =>
      worker.process
    );
  }

  /** The state of each worker. */
  get seats(): readonly WorkerSeat[] {
    const now = this.#options.clock.now();
    return this.#seats.map(({ number, worker, startedAt, restarts }) => ({
      number,
      process: worker.process,
      pid: worker.pid,
      state: worker.stopping ? "stopping" : worker.listens ? "serving" : "starting",
      uptimeMs: now - startedAt,
      restarts,
    }));
  }

  /** Requests the names of the busiest keys from all workers that listen, and waits for them until the deadline. */
  async askKeys(most: number, deadlineMs: number): Promise<void> {
    const replies = this.#seats.filter(({ worker }) => worker.listens).map(({ worker }) =>
      worker.askKeys(most)
    );
    if (replies.length === 0) return;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.setTimer(resolve, deadlineMs);
    await Promise.race([Promise.all(replies), late]);
  }

  /**
   * Starts all workers and waits until they listen.
   *
   * @throws the error of the first worker that failed
   */
  async open(): Promise<void> {
    const { count } = this.#options;
    try {
      // For port 0, the first worker chooses a free port, which all others use.
      if (this.#ports.includes(0)) this.#ports = await this.#startWorker(1).worker.listening;
      while (this.#seats.length < count) this.#startWorker(this.#seats.length + 1);
      const ports = await Promise.all(this.#seats.map(({ worker }) => worker.listening));
      this.#ports = ports[0]!;
    } catch (error) {
      await this.cut();
      throw error;
    }
    for (const seat of this.#seats) void this.#replaceWhenEnded(seat);
    this.#scheduleCheck();
  }

  #startWorker(number: number): Seat {
    const { clock, start } = this.#options;
    const worker = start(this.#ports, number);
    const seat = {
      number,
      worker,
      startedAt: clock.now(),
      beats: 0,
      missedChecks: 0,
      processorTimeAtFirstMiss: null,
      restarts: 0,
      failures: 0,
      timer: null,
      retired: false,
    };
    this.#seats.push(seat);
    return seat;
  }

  async #replaceWhenEnded(seat: Seat): Promise<void> {
    const { worker } = seat;
    const reason = await worker.ended;
    this.#release(worker);
    if (!this.#stopping && !seat.retired) this.#restartLater(seat, reason);
  }

  #release(worker: WorkerProcess): void {
    const { release, runningOf } = this.#options;
    // A worker that was killed has not reported them; its last heartbeat may be older than the request that blocks it.
    worker.abandonedRequests ??= Math.max(worker.killed ? 1 : 0, runningOf(worker.process));
    release(worker.process);
  }

  #restartLater(seat: Seat, reason: string): void {
    const { clock, observer } = this.#options;
    const lived = seat.worker.hasListened && clock.now() - seat.startedAt >= STABLE_MS;
    seat.failures = lived ? 0 : seat.failures + 1;
    const delayMs = seat.failures <= 1
      ? 0
      : Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (seat.failures - 2));
    this.restarts++;
    seat.restarts++;
    observer.event({ kind: "worker_ended", worker: seat.number, reason, restartInMs: delayMs });
    seat.timer = clock.setTimer(() => this.#restart(seat), delayMs);
  }

  #restart(seat: Seat): void {
    const { clock, observer, start } = this.#options;
    if (this.#stopping) return;
    seat.startedAt = clock.now();
    let worker: WorkerProcess;
    try {
      worker = seat.worker = start(this.#ports, seat.number);
    } catch (error) {
      // Such as a lack of processes or descriptors, which may end.
      return this.#restartLater(seat, `it could not be started: ${messageOf(error)}`);
    }
    seat.beats = seat.missedChecks = 0;
    seat.timer = clock.setTimer(() => {
      if (!worker.listens) worker.kill(`it did not listen within ${START_MS / 1000} s`);
    }, START_MS);
    worker.listening.then(
      () => observer.event({ kind: "worker_started", worker: seat.number, pid: worker.pid }),
      () => {},
    );
    void this.#replaceWhenEnded(seat);
  }

  #scheduleCheck(): void {
    this.#checkTimer = this.#options.clock.setTimer(() => this.#checkAll(), CHECK_MS);
  }

  #checkAll(): void {
    for (const seat of this.#seats) {
      const { worker } = seat;
      if (!worker.listens || worker.stopping) continue;
      const beats = this.#options.beatsOf(worker.process);
      seat.missedChecks = beats === seat.beats ? seat.missedChecks + 1 : 0;
      seat.beats = beats;
      if (seat.missedChecks === 1) seat.processorTimeAtFirstMiss = worker.processorTime();
      if (seat.missedChecks < (worker.loads ? MAX_MISSED_CHECKS_LOADING : MAX_MISSED_CHECKS)) continue;
      if (
        seat.missedChecks < MAX_MISSED_CHECKS_STARVED &&
        isStarved(seat.processorTimeAtFirstMiss, worker.processorTime())
      ) {
        continue;
      }
      worker.kill(`it has not responded for ${(seat.missedChecks * CHECK_MS / 1000).toFixed(1)} s`);
    }
    this.#scheduleCheck();
  }

  /** Sends a message to all workers. */
  send(message: ToWorker): void {
    for (const { worker } of this.#seats) worker.send(message);
  }

  /**
   * Requests all workers to load the configuration again.
   *
   * @returns a function that commits, and resolves when all workers serve new requests with it
   * @throws the error of the first worker that cannot load it
   */
  async prepare(message: PrepareMessage): Promise<() => Promise<void>> {
    const workers = this.#seats.map(({ worker }) => worker).filter(({ listens }) => listens);
    let prepared: readonly WorkerProcess[];
    try {
      const done = await Promise.all(workers.map((worker) => worker.prepare(message)));
      prepared = workers.filter((_, index) => done[index]);
      if (prepared.length < Math.min(1, workers.length)) {
        throw new Error(this.#stopping ? "the proxy stops" : "every worker has ended meanwhile");
      }
      // Workers that use the former configuration must end before the counts of the limiter move to another table.
      for (const { worker } of this.#seats) {
        if (!prepared.includes(worker)) worker.kill("it was started with the configuration before");
      }
    } catch (error) {
      this.cancel("another worker cannot use it");
      throw error;
    }
    return async () => {
      this.#ports = message.ports;
      const used: Promise<void>[] = [];
      for (const { worker } of this.#seats) if (prepared.includes(worker)) used.push(worker.commit());
      await Promise.all(used);
    };
  }

  /** Requests all workers to discard the configuration that they have loaded or are loading. */
  cancel(reason: string): void {
    for (const { worker } of this.#seats) worker.cancel(reason);
  }

  /**
   * Starts or stops workers until there are `count`.
   *
   * @param graceMs how long stopped ones may take to finish their requests, in milliseconds
   */
  resize(count: number, graceMs: number): void {
    while (this.#seats.length < count) void this.#replaceWhenEnded(this.#startWorker(this.#seats.length + 1));
    for (const seat of this.#seats.splice(count)) void this.#retire(seat, graceMs);
  }

  async #retire(seat: Seat, graceMs: number): Promise<void> {
    const { worker } = seat;
    seat.timer?.[Symbol.dispose]();
    seat.retired = true;
    this.#retired.add(seat);
    worker.stop("fewer workers are wanted");
    using _limit = this.#options.clock.setTimer(() => worker.kill(TOO_LATE), graceMs + EXIT_GRACE_MS);
    await worker.ended;
    this.#retired.delete(seat);
  }

  /**
   * Requests all workers to stop accepting connections, finish their requests and exit.
   *
   * @param graceMs how long they may take, in milliseconds
   */
  async stop(reason: string, graceMs: number): Promise<void> {
    this.#end();
    for (const { worker } of this.#seats) worker.stop(reason);
    using _limit = this.#options.clock.setTimer(() => this.#kill(), graceMs + EXIT_GRACE_MS);
    const stopped = this.#all.map(({ worker }) => worker).filter(({ hasEnded }) => !hasEnded);
    await this.#ended();
    this.abandonedRequests = stopped.reduce(
      (sum, { abandonedRequests }) => sum + (abandonedRequests ?? 0),
      0,
    );
  }

  /** Kills all workers. */
  async cut(): Promise<void> {
    this.#end();
    this.#kill();
    await this.#ended();
  }

  #end(): void {
    this.#stopping = true;
    this.#checkTimer?.[Symbol.dispose]();
    for (const { timer } of this.#seats) timer?.[Symbol.dispose]();
  }

  #kill(): void {
    for (const { worker } of this.#all) worker.kill(TOO_LATE);
  }

  async #ended(): Promise<void> {
    await Promise.all(this.#all.map(async ({ worker }) => {
      await worker.ended;
      this.#release(worker);
    }));
  }
}
