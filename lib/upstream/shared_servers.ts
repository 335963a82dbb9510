/** The state of servers in memory that the processes of one proxy share. */

/** Most processes: the supervisor, the workers, and workers that serve their last requests after a reload. */
export const MAX_PROCESSES = 128;
/** Most servers and pools at the same time. */
const MAX_SLOTS = 4096;

/** Words of the header. */
const HEADER = {
  /** Grows with every change that may change which server is chosen. */
  changes: 0,
  /** Grows when a request has no server but some that are down. */
  looks: 1,
  /** For each process: how often it has shown that it is alive, and how many requests it has that are not over. */
  beats: 16,
  running: 16 + MAX_PROCESSES,
  /** How many requests have arrived at each, in Float64. */
  arrived: 8 + MAX_PROCESSES,
  /** For each process: a configuration, how many requests of it have ended, and how many of these failed. */
  tallies: 16 + 4 * MAX_PROCESSES,
  size: 16 + 7 * MAX_PROCESSES,
} as const;

/** Words of a slot; `floats` and what follows are positions of Float64 in it. */
const SLOT = {
  inFlight: 0,
  /** The process whose request tries the server after an ejection, and one; 0 is none. */
  trial: 1,
  failuresInARow: 2,
  health: 3,
  ejection: 4,
  disabled: 5,
  draining: 6,
  /** Of a pool, which has none of the four before: how far its turns have come, for either rank those of retries behind. */
  turns: 3,
  /** Of a pool or the whole proxy: how many requests wait. */
  waiting: 7,
  ramp: 4,
  history: 5,
  /** Of a pool or a route, which have no history: the budget of their retries, in words. */
  budget: 10,
  /** Requests in flight of each process, in words. */
  inFlightOf: 112,
  requestsOf: (112 + MAX_PROCESSES) / 2,
  failuresOf: (112 + 3 * MAX_PROCESSES) / 2,
  /** Requests of each process that wait, in words. */
  waitingOf: 112 + 5 * MAX_PROCESSES,
  size: 112 + 6 * MAX_PROCESSES,
} as const;

/** How many numbers of a server's history there is room for. */
const HISTORY_SIZE = SLOT.inFlightOf / 2 - SLOT.history;

/** Bytes of the memory; pages that nothing was written to take none. */
export const SHARED_SERVERS_BYTES: number = (HEADER.size + MAX_SLOTS * SLOT.size) * 4;

/** The slots of servers and pools. */
export class SharedServers {
  /** Number of this process; 0 is the supervisor. */
  readonly process: number;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  /** How many slots have ever been taken. */
  #slotsUsed = 0;
  /** Slots that are free, those that were so first first: whoever still looks at an old server must not see a new one. */
  readonly #free: number[] = Array.from({ length: MAX_SLOTS }, (_, slot) => slot);

  constructor(buffer: ArrayBuffer, process: number) {
    this.process = process;
    this.#words = new Int32Array(buffer);
    this.#floats = new Float64Array(buffer);
  }

  /** Grows with every change that may change which server is chosen. */
  get changes(): number {
    return this.#words[HEADER.changes]!;
  }

  /** Notes a change. */
  changed(): void {
    Atomics.add(this.#words, HEADER.changes, 1);
  }

  /** Grows when a request has no server but some that are down. */
  get looks(): number {
    return this.#words[HEADER.looks]!;
  }

  /** Asks the supervisor to check servers that are down. */
  look(): void {
    Atomics.add(this.#words, HEADER.looks, 1);
  }

  /**
   * Takes a slot; only the supervisor does. One that was given back while requests of a configuration before still use it
   * is taken once they are over: they would be counted out of what they were never counted into.
   *
   * @throws {RangeError} when there is none left
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

  /** Gives a slot back; only the supervisor does. */
  free(slot: number): void {
    this.#free.push(slot);
  }

  /** The state in a slot. */
  cells(slot: number): SharedCells {
    return new SharedCells(this.#words, this.#floats, HEADER.size + slot * SLOT.size, slot, this.process);
  }

  /** Shows that this process is alive. */
  beat(running: number): void {
    Atomics.add(this.#words, HEADER.beats + this.process, 1);
    this.#words[HEADER.running + this.process] = running;
  }

  /** How often a process has shown that it is alive. */
  beatsOf(process: number): number {
    return this.#words[HEADER.beats + process]!;
  }

  /** How many requests of a process were not over when it showed so last. */
  runningOf(process: number): number {
    return this.#words[HEADER.running + process]!;
  }

  /** How many requests have arrived at all processes. */
  get arrived(): number {
    let sum = 0;
    for (let i = 0; i < MAX_PROCESSES; i++) sum += this.#floats[HEADER.arrived + i]!;
    return sum;
  }

  /** Counts the requests that arrive at this process. */
  get arrivals(): { arrived: number } {
    const floats = this.#floats;
    const at = HEADER.arrived + this.process;
    return {
      get arrived(): number {
        return floats[at]!;
      },
      set arrived(count: number) {
        floats[at] = count;
      },
    };
  }

  /** Counts from now on how requests of a configuration end in this process; `reload` is its number, from 1. */
  beginTally(reload: number): void {
    this.#words.set([0, 0, 0], this.#ownTally);
    this.#words[this.#ownTally] = reload;
  }

  /** Counts a request that has ended. */
  tally(failed: boolean): void {
    this.#words[this.#ownTally + 1]!++;
    if (failed) this.#words[this.#ownTally + 2]!++;
  }

  get #ownTally(): number {
    return HEADER.tallies + 3 * this.process;
  }

  /** How the requests of a configuration have ended in all processes. */
  tallyOf(reload: number): { requests: number; failures: number } {
    const sum = { requests: 0, failures: 0 };
    for (let at = HEADER.tallies; at < HEADER.size; at += 3) {
      if (this.#words[at] !== reload) continue;
      sum.requests += this.#words[at + 1]!;
      sum.failures += this.#words[at + 2]!;
    }
    return sum;
  }

  /** Gives back what the requests of a process held that has ended, and frees its number for another one. */
  release(process: number): void {
    const words = this.#words;
    words[HEADER.running + process] = 0;
    let held = false;
    const end = HEADER.size + this.#slotsUsed * SLOT.size;
    for (let at = HEADER.size; at < end; at += SLOT.size) {
      const inFlight = Atomics.exchange(words, at + SLOT.inFlightOf + process, 0);
      if (inFlight !== 0) Atomics.sub(words, at + SLOT.inFlight, inFlight);
      const waiting = Atomics.exchange(words, at + SLOT.waitingOf + process, 0);
      if (waiting !== 0) Atomics.sub(words, at + SLOT.waiting, waiting);
      const trial = Atomics.compareExchange(words, at + SLOT.trial, process + 1, 0);
      held ||= inFlight !== 0 || trial === process + 1;
    }
    if (held) this.changed();
  }
}

/** The state of one server or pool. */
export class SharedCells {
  readonly slot: number;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #at: number;
  readonly #process: number;

  /** @internal Use {@linkcode SharedServers.cells}. */
  constructor(words: Int32Array, floats: Float64Array, at: number, slot: number, process: number) {
    this.#words = words;
    this.#floats = floats;
    this.#at = at;
    this.slot = slot;
    this.#process = process;
  }

  /** Requests in flight, of all processes. */
  get inFlight(): number {
    return this.#words[this.#at]!;
  }

  /** Requests in flight of this process. */
  get ownInFlight(): number {
    return this.#words[this.#at + SLOT.inFlightOf + this.#process]!;
  }

  /** Counts a request in, unless as many are in flight as may be. */
  enter(most: number): boolean {
    const words = this.#words;
    if (Atomics.add(words, this.#at, 1) >= most) {
      Atomics.sub(words, this.#at, 1);
      return false;
    }
    words[this.#at + SLOT.inFlightOf + this.#process]!++;
    return true;
  }

  /** Counts a request out. */
  leave(): void {
    this.#words[this.#at + SLOT.inFlightOf + this.#process]!--;
    Atomics.sub(this.#words, this.#at, 1);
  }

  /** Counts a request in that waits, unless as many wait as may. */
  enterQueue(most: number): boolean {
    const words = this.#words;
    if (Atomics.add(words, this.#at + SLOT.waiting, 1) >= most) {
      Atomics.sub(words, this.#at + SLOT.waiting, 1);
      return false;
    }
    words[this.#at + SLOT.waitingOf + this.#process]!++;
    return true;
  }

  /** Counts out one that waits no more. */
  leaveQueue(): void {
    this.#words[this.#at + SLOT.waitingOf + this.#process]!--;
    Atomics.sub(this.#words, this.#at + SLOT.waiting, 1);
  }

  /** What a budget of retries counts in. */
  get budget(): Int32Array {
    return this.#words.subarray(this.#at + SLOT.budget, this.#at + SLOT.inFlightOf);
  }

  /** Takes the next turn of a pool, from 0; each of the four counts by itself. */
  takeTurn(counter: 0 | 1 | 2 | 3): number {
    return Atomics.add(this.#words, this.#at + SLOT.turns + counter, 1) >>> 0;
  }

  /** Whether a request tries the server. */
  get tried(): boolean {
    return this.#words[this.#at + SLOT.trial] !== 0;
  }

  /** Begins a trial of this process; `false` when there is one already. */
  beginTrial(): boolean {
    return Atomics.compareExchange(this.#words, this.#at + SLOT.trial, 0, this.#process + 1) === 0;
  }

  /** Ends the trial of this process, or of any. */
  endTrial(any = false): void {
    if (any) Atomics.store(this.#words, this.#at + SLOT.trial, 0);
    else Atomics.compareExchange(this.#words, this.#at + SLOT.trial, this.#process + 1, 0);
  }

  /** Counts a request that has ended. */
  countRequest(): void {
    this.#floats[this.#at / 2 + SLOT.requestsOf + this.#process]!++;
  }

  /** Counts one that has failed. */
  countFailure(): void {
    this.#floats[this.#at / 2 + SLOT.failuresOf + this.#process]!++;
    Atomics.add(this.#words, this.#at + SLOT.failuresInARow, 1);
  }

  get requests(): number {
    return this.#sum(SLOT.requestsOf);
  }

  get failures(): number {
    return this.#sum(SLOT.failuresOf);
  }

  #sum(first: number): number {
    let sum = 0;
    const from = this.#at / 2 + first;
    for (let i = 0; i < MAX_PROCESSES; i++) sum += this.#floats[from + i]!;
    return sum;
  }

  get failuresInARow(): number {
    return this.#words[this.#at + SLOT.failuresInARow]!;
  }

  /** Forgets the failures in a row; writes nothing when there are none, which is nearly always. */
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

  /** Changes it; `false` when another process has done so before. */
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
    this.#words[this.#at + SLOT.draining] = draining ? 1 : 0;
  }

  get ramp(): number {
    return this.#floats[this.#at / 2 + SLOT.ramp]!;
  }

  set ramp(ramp: number) {
    this.#floats[this.#at / 2 + SLOT.ramp] = ramp;
  }

  /** What ejection remembers of the server. */
  get history(): Float64Array {
    const from = this.#at / 2 + SLOT.history;
    return this.#floats.subarray(from, from + HISTORY_SIZE);
  }
}
