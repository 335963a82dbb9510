/** The workers of one configuration: as many as wanted, each replaced when it ends. */

import type { Clock } from "../../core/clock.ts";
import type { Observer } from "../../observe/observer.ts";
import type { PrepareMessage, ToWorker } from "./channel.ts";
import type { ProcessorTime, WorkerProcess } from "./worker_process.ts";

/** How often it is looked whether workers are alive. */
const LOOK_MS = 200;
/** After how many looks without a sign a worker is taken for hung: counted, so that a machine that slept kills nobody. */
const PATIENCE = 6;
/** The same while it loads another configuration, which may have thousands of servers and keeps its loop busy. */
const PATIENCE_LOADING = 150;
/** The same for one that had no chance: others took the processor nearly all the time. */
const PATIENCE_STARVED = 50;
/** Who has run for so long without a sign had its chance. */
const FAIR_CHANCE_MS = 250;
/** How long a worker that replaces another one may take to listen. */
const START_MS = 30_000;
/** A worker that has lived for so long is replaced at once when it ends. */
const PROVEN_MS = 10_000;
const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 30_000;
/** How much longer than their grace period workers may take to end. */
const LAST_WORDS_MS = 3000;

/** What a {@linkcode WorkerGroup} takes. */
interface WorkerGroupOptions {
  readonly count: number;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Starts a worker that listens at these ports; 0 is any. The seats are numbered from 1. */
  readonly start: (ports: readonly number[], seat: number) => WorkerProcess;
  /** Takes back what a worker held that has ended. */
  readonly release: (id: number) => void;
  /** How often a worker has shown that it is alive. */
  readonly beatsOf: (id: number) => number;
}

/** A place for a worker. */
interface Seat {
  readonly number: number;
  worker: WorkerProcess;
  startedAt: number;
  beats: number;
  silentLooks: number;
  /** What the worker had had of the processor when the first look found no sign of it. */
  silentSince: ProcessorTime | null;
  /** How often its worker was replaced. */
  restarts: number;
  /** How often workers have ended soon after their start, one after the other. */
  failures: number;
  timer: Disposable | null;
  /** Whether it is there no more. */
  retired: boolean;
}

/** A worker, as far as people want to know. */
interface WorkerSeat {
  /** 1 for the first. */
  readonly number: number;
  /** Number of the process in shared memory. */
  readonly process: number;
  readonly pid: number;
  readonly state: "starting" | "serving" | "stopping";
  readonly uptimeMs: number;
  /** How often it was replaced. */
  readonly restarts: number;
}

/**
 * Whether a worker could not say that it is alive, because a busy machine gave the processor to others: then a new one would
 * be no better off, and what the old one does would be lost.
 *
 * @param since what it had had at its last sign; `null` where the system does not say
 */
export function isStarved(since: ProcessorTime | null, now: ProcessorTime | null): boolean {
  if (since === null || now === null) return false;
  const ranMs = now.ranMs - since.ranMs;
  return ranMs < FAIR_CHANCE_MS && now.waitedMs - since.waitedMs > ranMs;
}

/** Starts workers, looks whether they are alive, and replaces those that are not. */
export class WorkerGroup {
  readonly #options: WorkerGroupOptions;
  readonly #seats: Seat[] = [];
  #look: Disposable | null = null;
  #ports: readonly number[];
  #stopping = false;
  /** How many workers were replaced. */
  restarts = 0;
  /** How many requests were cut when workers stopped. */
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

  /** The processes. */
  get processes(): readonly number[] {
    return this.#seats.map(({ worker }) => worker.process);
  }

  /** Those of workers that serve. */
  get serving(): readonly number[] {
    return this.#seats.filter(({ worker }) => worker.listens && !worker.stopping).map(({ worker }) =>
      worker.process
    );
  }

  /** What is known of each worker. */
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

  /** Has all that listen report the names of their busiest keys; those that have not by then are late. */
  async askKeys(most: number, deadlineMs: number): Promise<void> {
    const asked = this.#seats.filter(({ worker }) => worker.listens).map(({ worker }) =>
      worker.askKeys(most)
    );
    if (asked.length === 0) return;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.setTimer(resolve, deadlineMs);
    await Promise.race([Promise.all(asked), late]);
  }

  /**
   * Starts all workers and waits until they listen.
   *
   * @throws what the first one failed with
   */
  async open(): Promise<void> {
    const { count } = this.#options;
    try {
      // The first one finds out which port is free, where any is wanted.
      if (this.#ports.includes(0)) this.#ports = await this.#sit(1).worker.listening;
      while (this.#seats.length < count) this.#sit(this.#seats.length + 1);
      const ports = await Promise.all(this.#seats.map(({ worker }) => worker.listening));
      this.#ports = ports[0]!;
    } catch (error) {
      await this.cut();
      throw error;
    }
    for (const seat of this.#seats) void this.#replaceWhenEnded(seat);
    this.#lookLater();
  }

  #sit(number: number): Seat {
    const { clock, start } = this.#options;
    const worker = start(this.#ports, number);
    const seat = {
      number,
      worker,
      startedAt: clock.now(),
      beats: 0,
      silentLooks: 0,
      silentSince: null,
      restarts: 0,
      failures: 0,
      timer: null,
      retired: false,
    };
    this.#seats.push(seat);
    return seat;
  }

  async #replaceWhenEnded(seat: Seat): Promise<void> {
    const { clock, observer, release } = this.#options;
    const { worker } = seat;
    const reason = await worker.ended;
    release(worker.process);
    if (this.#stopping || seat.retired) return;
    const lived = worker.listens && clock.now() - seat.startedAt >= PROVEN_MS;
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
    const worker = seat.worker = start(this.#ports, seat.number);
    seat.startedAt = clock.now();
    seat.beats = seat.silentLooks = 0;
    seat.timer = clock.setTimer(() => {
      if (!worker.listens) worker.kill(`it did not listen within ${START_MS / 1000} s`);
    }, START_MS);
    worker.listening.then(
      () => observer.event({ kind: "worker_started", worker: seat.number, pid: worker.pid }),
      () => {},
    );
    void this.#replaceWhenEnded(seat);
  }

  #lookLater(): void {
    this.#look = this.#options.clock.setTimer(() => this.#lookAtAll(), LOOK_MS);
  }

  #lookAtAll(): void {
    for (const seat of this.#seats) {
      const { worker } = seat;
      if (!worker.listens || worker.stopping) continue;
      const beats = this.#options.beatsOf(worker.process);
      seat.silentLooks = beats === seat.beats ? seat.silentLooks + 1 : 0;
      seat.beats = beats;
      if (seat.silentLooks === 1) seat.silentSince = worker.processorTime();
      if (seat.silentLooks < (worker.loads ? PATIENCE_LOADING : PATIENCE)) continue;
      if (seat.silentLooks < PATIENCE_STARVED && isStarved(seat.silentSince, worker.processorTime())) {
        continue;
      }
      worker.kill(`it has not responded for ${(seat.silentLooks * LOOK_MS / 1000).toFixed(1)} s`);
    }
    this.#lookLater();
  }

  /** Says something to all. */
  send(message: ToWorker): void {
    for (const { worker } of this.#seats) worker.send(message);
  }

  /**
   * Has all load the configuration again.
   *
   * @returns puts it to use, and resolves when new requests are served by it; those that were replaced meanwhile are started anew
   * @throws why the first one cannot
   */
  async prepare(message: PrepareMessage): Promise<() => Promise<void>> {
    const asked = this.#seats.map(({ worker }) => worker).filter(({ listens }) => listens);
    let prepared: readonly WorkerProcess[];
    try {
      const done = await Promise.all(asked.map((worker) => worker.prepare(message)));
      prepared = asked.filter((_, index) => done[index]);
      if (prepared.length < Math.min(1, asked.length)) throw new Error("every worker has ended meanwhile");
      // Before the counts of the limiter move to where these do not look for them.
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

  /** Has all give up the configuration that they have loaded, or are loading. */
  cancel(reason: string): void {
    for (const { worker } of this.#seats) worker.cancel(reason);
  }

  /** Has another number of workers serve. */
  resize(count: number): void {
    while (this.#seats.length < count) void this.#replaceWhenEnded(this.#sit(this.#seats.length + 1));
    for (const seat of this.#seats.splice(count)) {
      seat.timer?.[Symbol.dispose]();
      seat.retired = true;
      seat.worker.stop("fewer workers are wanted");
    }
  }

  /**
   * Has all take no new connections, finish their requests and end.
   *
   * @param graceMs how long that may take
   */
  async stop(reason: string, graceMs: number): Promise<void> {
    this.#end();
    for (const { worker } of this.#seats) worker.stop(reason);
    using _limit = this.#options.clock.setTimer(() => this.#kill(), graceMs + LAST_WORDS_MS);
    await this.#ended();
  }

  /** Ends all at once. */
  async cut(): Promise<void> {
    this.#end();
    this.#kill();
    await this.#ended();
  }

  #end(): void {
    this.#stopping = true;
    this.#look?.[Symbol.dispose]();
    for (const { timer } of this.#seats) timer?.[Symbol.dispose]();
  }

  #kill(): void {
    for (const { worker } of this.#seats) worker.kill("it did not end in time");
  }

  async #ended(): Promise<void> {
    await Promise.all(this.#seats.map(async ({ worker }) => {
      await worker.ended;
      this.#options.release(worker.process);
    }));
    this.abandonedRequests = this.#seats.reduce((sum, { worker }) => sum + worker.abandonedRequests, 0);
  }
}
