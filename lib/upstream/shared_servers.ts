/** The state of servers in memory that all processes of one proxy share. */

/** Most processes: the supervisor, the workers, and stopping workers that finish their requests. */
export const MAX_PROCESSES = 128;
/** Most slots in use at the same time, for servers, pools and retry budgets. */
const MAX_SLOTS = 4096;

/** A cache line in 32-bit words. What only one process writes has its own line, or other processes would wait for the line. */
const LINE = 16;

/** Positions in the header, in 32-bit words. */
const HEADER = {
  /** Grows with every change that may affect the choice of a server. */
  changes: 0,
  /** Number of requests for extra checks: a request had only unhealthy servers. */
  looks: 1,
  /** A line for each process. */
  processes: LINE,
  size: LINE + LINE * MAX_PROCESSES,
} as const;

/** Positions in the line of a process in the header; `arrived` in Float64. */
const PROCESS = {
  beats: 0,
  running: 1,
  /** Number of former configurations that serve their last requests. */
  draining: 2,
  /** Number of a configuration, requests of it that have ended, and failures among these. */
  tally: 3,
  /** Number of requests that have arrived. */
  arrived: 8 / 2,
} as const;

/** Positions in a slot, in 32-bit words; `ramp` and `history` in Float64. */
const SLOT = {
  // Changes with every request.
  inFlight: 0,
  /** Number of the process that has the trial request, plus 1; 0 is none. */
  trial: 1,
  failuresInARow: 2,
  /** For a pool: turn counters of primary servers and backups, then of their retries. */
  turns: 3,
  /** For a pool or the whole proxy: number of waiting requests. */
  waiting: 7,
  // Changes rarely.
  health: LINE,
  ejection: LINE + 1,
  disabled: LINE + 2,
  draining: LINE + 3,
  ramp: (LINE + 4) / 2,
  history: 2 * LINE / 2,
  /** For a pool or a route, in place of `history`: the retry budget, in words. */
  budget: 2 * LINE,
  /** A line for each process. */
  processes: 8 * LINE,
  size: 8 * LINE + LINE * MAX_PROCESSES,
} as const;

/** Positions in the line of a process in a slot; `requests` and `failures` in Float64. */
const OWN = { inFlight: 0, waiting: 1, requests: 2 / 2, failures: 4 / 2 } as const;

/** Values of `SLOT.draining` other than 0. */
const DRAINING = 1;
const REMOVED = 2;

/** Size of a server's history, in numbers. */
const HISTORY_SIZE = SLOT.processes / 2 - SLOT.history;

/** Size in bytes. The system allocates only pages that are written to. */
export const SHARED_SERVERS_BYTES: number = (HEADER.size + MAX_SLOTS * SLOT.size) * 4;

/** The slots of servers and pools. */
export class SharedServers {
  /** Number of this process; 0 is the supervisor. */
  readonly process: number;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  /** Number of slots that were ever allocated. */
  #slotsUsed = 0;
  /** Free slots; the one freed first is reused first, so that late readers of a removed server do not see a new one. */
  readonly #free: number[] = Array.from({ length: MAX_SLOTS }, (_, slot) => slot);

  constructor(buffer: ArrayBuffer, process: number) {
    this.process = process;
    this.#words = new Int32Array(buffer);
    this.#floats = new Float64Array(buffer);
  }

  /** Grows with every change that may affect the choice of a server. */
  get changes(): number {
    return this.#words[HEADER.changes]!;
  }

  /** Called after this process has recorded a change or requested extra checks, so that others need not poll. */
  onChange: (() => void) | null = null;

  /** Records a change. */
  changed(): void {
    Atomics.add(this.#words, HEADER.changes, 1);
    if (this.onChange !== null) this.onChange();
  }

  readonly #followers = new Set<() => void>();

  /** In the supervisor: calls back after each {@linkcode notify}, until the result is disposed. */
  follow(follower: () => void): Disposable {
    this.#followers.add(follower);
    return { [Symbol.dispose]: () => void this.#followers.delete(follower) };
  }

  /** In the supervisor: a process has recorded changes. */
  notify(): void {
    for (const follower of this.#followers) follower();
  }

  /** Number of requests for extra checks of unhealthy servers. */
  get looks(): number {
    return this.#words[HEADER.looks]!;
  }

  /** Requests the supervisor to check unhealthy servers. */
  look(): void {
    Atomics.add(this.#words, HEADER.looks, 1);
    if (this.onChange !== null) this.onChange();
  }

  /**
   * Allocates a slot; only for the supervisor. A freed slot is not reused while requests of a former configuration are counted
   * in it: otherwise their end would lower the counts of its new owner.
   *
   * @throws {RangeError} when no slot is free
   */
  allocate(): number {
    const index = this.#free.findIndex((slot) => !this.#isUsed(slot));
    if (index < 0) {
      throw new RangeError(
        `Workers share no more than ${MAX_SLOTS} servers, pools and retry budgets of routes, together with those of ` +
          "configurations that still serve their last requests",
      );
    }
    const slot = this.#free.splice(index, 1)[0]!;
    this.#slotsUsed = Math.max(this.#slotsUsed, slot + 1);
    const at = HEADER.size + slot * SLOT.size;
    this.#words.fill(0, at, at + SLOT.size);
    this.#floats[at / 2 + SLOT.ramp] = 1;
    return slot;
  }

  #isUsed(slot: number): boolean {
    const at = HEADER.size + slot * SLOT.size;
    return this.#words[at + SLOT.inFlight] !== 0 || this.#words[at + SLOT.waiting] !== 0;
  }

  /** Frees a slot; only for the supervisor. */
  free(slot: number): void {
    this.#free.push(slot);
  }

  /** The state in a slot. */
  cells(slot: number): SharedCells {
    return new SharedCells(this.#words, this.#floats, HEADER.size + slot * SLOT.size, slot, this.process);
  }

  /** Counts a heartbeat of this process, and stores its numbers of running requests and of draining configurations. */
  beat(running: number, draining: number): void {
    const at = lineOf(this.process);
    Atomics.add(this.#words, at + PROCESS.beats, 1);
    this.#words[at + PROCESS.running] = running;
    this.#words[at + PROCESS.draining] = draining;
  }

  /** Number of heartbeats of a process. */
  beatsOf(process: number): number {
    return this.#words[lineOf(process) + PROCESS.beats]!;
  }

  /** Number of running requests of a process at its last heartbeat. */
  runningOf(process: number): number {
    return this.#words[lineOf(process) + PROCESS.running]!;
  }

  /** Number of draining configurations of a process at its last heartbeat. */
  drainingOf(process: number): number {
    return this.#words[lineOf(process) + PROCESS.draining]!;
  }

  /** Number of requests that have arrived at all processes. */
  get arrived(): number {
    let sum = 0;
    for (let i = 0; i < MAX_PROCESSES; i++) sum += this.#floats[lineOf(i) / 2 + PROCESS.arrived]!;
    return sum;
  }

  /** Counts the requests that arrive at this process. */
  get arrivals(): { arrived: number; readonly process: number } {
    const floats = this.#floats;
    const at = lineOf(this.process) / 2 + PROCESS.arrived;
    return {
      process: this.process,
      get arrived(): number {
        return floats[at]!;
      },
      set arrived(count: number) {
        floats[at] = count;
      },
    };
  }

  /** Starts to count outcomes of requests of a configuration in this process; `reload` is its number, from 1. */
  beginTally(reload: number): void {
    const at = lineOf(this.process) + PROCESS.tally;
    this.#words.set([0, 0, 0], at);
    this.#words[at] = reload;
  }

  /** Counts a request that has ended. */
  tally(failed: boolean): void {
    const at = lineOf(this.process) + PROCESS.tally;
    this.#words[at + 1]!++;
    if (failed) this.#words[at + 2]!++;
  }

  /** Outcomes of the requests of a configuration in all processes. */
  tallyOf(reload: number): { requests: number; failures: number } {
    const sum = { requests: 0, failures: 0 };
    for (let i = 0; i < MAX_PROCESSES; i++) {
      const at = lineOf(i) + PROCESS.tally;
      if (this.#words[at] !== reload) continue;
      sum.requests += this.#words[at + 1]!;
      sum.failures += this.#words[at + 2]!;
    }
    return sum;
  }

  /** Releases what the requests of an ended process held, so that its number can be reused. */
  release(process: number): void {
    const words = this.#words;
    const line = lineOf(process);
    words[line + PROCESS.running] = words[line + PROCESS.draining] = 0;
    let held = false;
    const end = HEADER.size + this.#slotsUsed * SLOT.size;
    for (let at = HEADER.size; at < end; at += SLOT.size) {
      const own = at + SLOT.processes + LINE * process;
      const inFlight = Atomics.exchange(words, own + OWN.inFlight, 0);
      if (inFlight !== 0) Atomics.sub(words, at + SLOT.inFlight, inFlight);
      const waiting = Atomics.exchange(words, own + OWN.waiting, 0);
      if (waiting !== 0) Atomics.sub(words, at + SLOT.waiting, waiting);
      const trial = Atomics.compareExchange(words, at + SLOT.trial, process + 1, 0);
      held ||= inFlight !== 0 || trial === process + 1;
    }
    if (held) this.changed();
  }
}

/** The line of a process in the header. */
function lineOf(process: number): number {
  return HEADER.processes + LINE * process;
}

/** The state of one server or pool. */
export class SharedCells {
  readonly slot: number;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #at: number;
  readonly #process: number;
  /** The line of this process. */
  readonly #own: number;

  /** @internal Use {@linkcode SharedServers.cells}. */
  constructor(words: Int32Array, floats: Float64Array, at: number, slot: number, process: number) {
    this.#words = words;
    this.#floats = floats;
    this.#at = at;
    this.slot = slot;
    this.#process = process;
    this.#own = at + SLOT.processes + LINE * process;
  }

  /** Requests in flight of all processes. */
  get inFlight(): number {
    return this.#words[this.#at]!;
  }

  /** Requests in flight of this process. */
  get ownInFlight(): number {
    return this.#words[this.#own + OWN.inFlight]!;
  }

  /** Counts a request in flight; `false` if there are already `most`. */
  enter(most: number): boolean {
    const words = this.#words;
    if (Atomics.add(words, this.#at, 1) >= most) {
      Atomics.sub(words, this.#at, 1);
      return false;
    }
    words[this.#own + OWN.inFlight]!++;
    return true;
  }

  /** Counts a request that is not in flight any more. */
  leave(): void {
    this.#words[this.#own + OWN.inFlight]!--;
    Atomics.sub(this.#words, this.#at, 1);
  }

  /** Counts a waiting request; `false` if there are already `most`. */
  enterQueue(most: number): boolean {
    const words = this.#words;
    if (Atomics.add(words, this.#at + SLOT.waiting, 1) >= most) {
      Atomics.sub(words, this.#at + SLOT.waiting, 1);
      return false;
    }
    words[this.#own + OWN.waiting]!++;
    return true;
  }

  /** Counts a request that does not wait any more. */
  leaveQueue(): void {
    this.#words[this.#own + OWN.waiting]!--;
    Atomics.sub(this.#words, this.#at + SLOT.waiting, 1);
  }

  /** The words for a retry budget. */
  get budget(): Int32Array {
    return this.#words.subarray(this.#at + SLOT.budget, this.#at + SLOT.processes);
  }

  /** Takes the next turn of a pool, from 0. The four counters are independent. */
  takeTurn(counter: 0 | 1 | 2 | 3): number {
    return Atomics.add(this.#words, this.#at + SLOT.turns + counter, 1) >>> 0;
  }

  /** Whether the server has a trial request. */
  get tried(): boolean {
    return this.#words[this.#at + SLOT.trial] !== 0;
  }

  /** Begins a trial request of this process; `false` if there already is one. */
  beginTrial(): boolean {
    return Atomics.compareExchange(this.#words, this.#at + SLOT.trial, 0, this.#process + 1) === 0;
  }

  /** Ends the trial request of this process, or of any process. */
  endTrial(any = false): void {
    if (any) Atomics.store(this.#words, this.#at + SLOT.trial, 0);
    else Atomics.compareExchange(this.#words, this.#at + SLOT.trial, this.#process + 1, 0);
  }

  /** Counts a request that has ended. */
  countRequest(): void {
    this.#floats[this.#own / 2 + OWN.requests]!++;
  }

  /** Counts a request that has failed. */
  countFailure(): void {
    this.#floats[this.#own / 2 + OWN.failures]!++;
    Atomics.add(this.#words, this.#at + SLOT.failuresInARow, 1);
  }

  get requests(): number {
    return this.#sum(OWN.requests);
  }

  get failures(): number {
    return this.#sum(OWN.failures);
  }

  #sum(position: number): number {
    let sum = 0;
    const from = (this.#at + SLOT.processes) / 2 + position;
    for (let i = 0; i < MAX_PROCESSES; i++) sum += this.#floats[from + LINE / 2 * i]!;
    return sum;
  }

  get failuresInARow(): number {
    return this.#words[this.#at + SLOT.failuresInARow]!;
  }

  /** Resets the failures in a row. Writes only if there are any, which is rare. */
  forgetFailures(): void {
    const at = this.#at + SLOT.failuresInARow;
    if (this.#words[at] !== 0) Atomics.store(this.#words, at, 0);
  }

  get health(): number {
    return this.#words[this.#at + SLOT.health]!;
  }

  set health(health: number) {
    this.#words[this.#at + SLOT.health] = health;
  }

  get ejection(): number {
    return this.#words[this.#at + SLOT.ejection]!;
  }

  /** Changes the state of ejection; `false` if another process has changed it first. */
  changeEjection(from: number, to: number): boolean {
    return Atomics.compareExchange(this.#words, this.#at + SLOT.ejection, from, to) === from;
  }

  get disabled(): boolean {
    return this.#words[this.#at + SLOT.disabled] !== 0;
  }

  set disabled(disabled: boolean) {
    this.#words[this.#at + SLOT.disabled] = disabled ? 1 : 0;
  }

  get draining(): boolean {
    return this.#words[this.#at + SLOT.draining] !== 0;
  }

  set draining(draining: boolean) {
    this.#words[this.#at + SLOT.draining] = draining ? DRAINING : 0;
  }

  /** Whether the supervisor has removed the server from its pool; it is draining then. */
  get removed(): boolean {
    return this.#words[this.#at + SLOT.draining] === REMOVED;
  }

  /** Marks the server as removed. */
  remove(): void {
    this.#words[this.#at + SLOT.draining] = REMOVED;
  }

  get ramp(): number {
    return this.#floats[this.#at / 2 + SLOT.ramp]!;
  }

  set ramp(ramp: number) {
    this.#floats[this.#at / 2 + SLOT.ramp] = ramp;
  }

  /** The numbers that ejection keeps for the server. */
  get history(): Float64Array {
    const from = this.#at / 2 + SLOT.history;
    return this.#floats.subarray(from, from + HISTORY_SIZE);
  }
}
