/** A server of a pool and its state. */

import { Lease } from "../core/cancellation.ts";
import { ineligibility, isAvailable } from "./eligibility.ts";
import { checkServerInit, type Peer, type ServerInit } from "./peer.ts";
import type { SharedCells, SharedServers } from "./shared_servers.ts";

/** What active checks found: `checking` is a server that was not checked yet. */
export type Health = "up" | "down" | "checking";

/** By the number that stands for it in shared memory. */
const HEALTHS: readonly Health[] = ["up", "down", "checking"];

/** The numbers of {@linkcode Server.ejected} and {@linkcode Server.halfOpen} in shared memory. */
const EJECTED = 1;
const HALF_OPEN = 2;

/**
 * How a request to a server ended: `failure` without a response, or with one that blames the server or what is behind
 * it; `ignored` when the end says nothing about the server (4xx, 429, the client went away).
 */
export type Outcome = "success" | "failure" | "ignored";

/**
 * How far a request to a server got: it tried to connect, to do the TLS handshake, or to get a response; `response` when
 * one came, whatever its status.
 */
export type Stage = "connect" | "tls" | "request" | "response";

/** A server of a pool. Its identity stays while it is a member, whatever changes about it. */
export class Server {
  /** The address as configured; unique in its pool. */
  readonly id: string;
  /** How transports reach it; they keep connections by the identity of this object. */
  readonly peer: Peer;
  /** Of its pool. */
  #state: PoolState;
  /** Of pools of former configurations, until their last request is over. */
  #former: readonly PoolState[] = NONE;
  readonly #giveBack: () => void;
  #weight: number;
  #ramp = 1;
  #backup: boolean;
  #tags: readonly string[];
  #maxInFlight: number;
  #inFlight = 0;
  #enabled = true;
  #draining = false;
  #leaving = false;
  #health: Health = "up";
  #ejected = false;
  #halfOpen = false;
  #trial: Lease | null = null;
  #requests = 0;
  #failures = 0;
  #consecutiveFailures = 0;
  /** What it shares with other processes, in place of its own numbers; `null` when there is one process. */
  readonly #cells: SharedCells | null;

  /**
   * @internal
   * Makes a server that is up, enabled and idle.
   *
   * @param state what it shares with the other servers of its pool
   */
  constructor(init: ServerInit, state: PoolState = new PoolState()) {
    const { id, peer, weight = 1, backup = false, tags = [], maxInFlight = Infinity } = init;
    this.id = id;
    this.peer = peer;
    this.#state = state;
    checkServerInit(init);
    const { shared } = state;
    this.#cells = shared === null ? null : shared.cells(init.slot ?? shared.allocate());
    this.#weight = weight;
    this.#backup = backup;
    this.#tags = tags;
    this.#maxInFlight = maxInFlight;
    this.#giveBack = () => this.#release();
  }

  /** Share of the requests, as configured. */
  get weight(): number {
    return this.#weight;
  }

  /** Share of the requests now: smaller than {@linkcode weight} during a slow start. */
  get effectiveWeight(): number {
    return this.#weight * (this.#cells === null ? this.#ramp : this.#cells.ramp);
  }

  /** Used only when no primary server can be used. */
  get backup(): boolean {
    return this.#backup;
  }

  /** Tags of the operator. */
  get tags(): readonly string[] {
    return this.#tags;
  }

  /** Most requests in flight at once. */
  get maxInFlight(): number {
    return this.#maxInFlight;
  }

  /** Requests in flight. */
  get inFlight(): number {
    return this.#cells === null ? this.#inFlight : this.#cells.inFlight;
  }

  /** `false` when an operator disabled the server. */
  get enabled(): boolean {
    return this.#cells === null ? this.#enabled : !this.#cells.disabled;
  }

  /** Whether it finishes its requests and gets no new ones. */
  get draining(): boolean {
    return this.#leaving || (this.#cells === null ? this.#draining : this.#cells.draining);
  }

  /** Whether it was removed, and finishes its requests. */
  get leaving(): boolean {
    return this.#leaving;
  }

  /** What active checks found. */
  get health(): "up" | "down" | "checking" {
    return this.#cells === null ? this.#health : HEALTHS[this.#cells.health]!;
  }

  /** Whether active checks pass; `true` without checks. */
  get healthy(): boolean {
    return this.#cells === null ? this.#health === "up" : this.#cells.health === 0;
  }

  /** Whether it is out for a while because requests failed. */
  get ejected(): boolean {
    return this.#cells === null ? this.#ejected : this.#cells.ejection === EJECTED;
  }

  /** Whether it gets one request at a time after an ejection, until one gets a response. */
  get halfOpen(): boolean {
    return this.#cells === null ? this.#halfOpen : this.#cells.ejection === HALF_OPEN;
  }

  /** Whether it has as many requests in flight as it may have. */
  get full(): boolean {
    const cells = this.#cells;
    if (cells !== null) return cells.inFlight >= this.#maxInFlight || cells.tried;
    return this.#inFlight >= this.#maxInFlight || this.#trial !== null;
  }

  /** Whether it may be sent a request now: the rule of `eligibility.ts`. */
  get eligible(): boolean {
    return ineligibility(this) === null;
  }

  /** Requests that have ended since the server was added. */
  get requests(): number {
    return this.#cells === null ? this.#requests : this.#cells.requests;
  }

  /** How many of {@linkcode requests} failed. */
  get failures(): number {
    return this.#cells === null ? this.#failures : this.#cells.failures;
  }

  /** Failures since the last success, or since the last ejection ended. */
  get consecutiveFailures(): number {
    return this.#cells === null ? this.#consecutiveFailures : this.#cells.failuresInARow;
  }

  /** @internal What it shares with other processes; `null` when there is one process. */
  get cells(): SharedCells | null {
    return this.#cells;
  }

  /** Why it may not be sent a request now; `null` when it may. */
  get ineligibility(): "disabled" | "draining" | "unhealthy" | "ejected" | "full" | null {
    return ineligibility(this);
  }

  /** Whether it may be sent requests if it is not full. */
  get available(): boolean {
    return isAvailable(this);
  }

  /** Counts a request in; releasing the lease counts it out. Does not ask whether the server is eligible. */
  acquire(): Lease {
    if (this.halfOpen) return this.acquireTrial();
    return this.#acquire(this.#giveBack);
  }

  /** @internal Does the same; `null` when another process has made the server or its pool full since it was chosen. */
  tryAcquire(): Lease | null {
    const cells = this.#cells;
    if (cells === null) return this.acquire();
    if (this.halfOpen) return this.tryAcquireTrial();
    return this.#enter(cells) ? new Lease(this.#giveBack) : null;
  }

  /** @internal As {@linkcode acquireTrial}; `null` when a request of another process tries the server. */
  tryAcquireTrial(): Lease | null {
    const cells = this.#cells;
    if (cells === null) return this.acquireTrial();
    if (!cells.beginTrial()) return null;
    if (this.#enter(cells)) {
      return new Lease(() => {
        cells.endTrial();
        this.#release();
      });
    }
    cells.endTrial();
    return null;
  }

  #enter(cells: SharedCells): boolean {
    const state = this.#state;
    if (!state.enter()) return false;
    if (!cells.enter(this.#maxInFlight)) {
      state.leave();
      return false;
    }
    if (state.onLoad !== null) state.onLoad(this);
    return true;
  }

  /** @internal Does the same for a trial request after an ejection; the server is full as long as it runs. */
  acquireTrial(): Lease {
    const trial: Lease = this.#acquire(() => {
      if (this.#trial === trial) this.#trial = null;
      this.#release();
    });
    this.#trial = trial;
    return trial;
  }

  #acquire(giveBack: () => void): Lease {
    const state = this.#state;
    if (this.#cells === null) this.#inFlight++;
    else this.#cells.enter(Infinity);
    state.add(1);
    if (state.onLoad !== null) state.onLoad(this);
    if (this.#former.length > 0) this.#tellFormer(1);
    return new Lease(giveBack);
  }

  #tellFormer(count: 1 | -1): void {
    for (const state of this.#former) {
      state.add(count);
      state.onLoad?.(this);
      if (count < 0) state.onRoom?.();
    }
  }

  /** @internal Counts a request that has ended. */
  count(outcome: Outcome): void {
    const cells = this.#cells;
    if (cells !== null) {
      cells.countRequest();
      if (outcome === "success") cells.forgetFailures();
      if (outcome === "failure") cells.countFailure();
      return;
    }
    this.#requests++;
    if (outcome === "success") this.#consecutiveFailures = 0;
    if (outcome !== "failure") return;
    this.#failures++;
    this.#consecutiveFailures++;
  }

  #release(): void {
    const own = this.#cells === null ? this.#inFlight : this.#cells.ownInFlight;
    if (own === 0) throw new RangeError(`Cannot release a lease of "${this.id}": none is taken`);
    const state = this.#state;
    if (this.#cells === null) this.#inFlight--;
    else this.#cells.leave();
    state.leave();
    if (state.onLoad !== null) state.onLoad(this);
    if (state.onRoom !== null) state.onRoom();
    if (this.#former.length > 0) this.#tellFormer(-1);
    if (this.#leaving && own === 1) state.onIdle?.(this);
  }

  /** @internal Whether it is a member of the pool with this state, and of no later one. */
  isIn(state: PoolState): boolean {
    return this.#state === state;
  }

  /** @internal By `Pool.takeOver`: it becomes a member of another pool as well, whose word counts from now on. */
  join(state: PoolState): void {
    this.#former = Object.freeze([...this.#former, this.#state]);
    this.#state = state;
    state.add(this.#inFlight);
  }

  /**
   * It is no member of that pool any more.
   *
   * @returns whether it is one of another pool
   * @internal By `Pool`
   */
  part(state: PoolState): boolean {
    if (this.#state === state) return false;
    const former = this.#former.filter((each) => each !== state);
    if (former.length < this.#former.length) state.add(-this.#inFlight);
    this.#former = former.length === 0 ? NONE : Object.freeze(former);
    return true;
  }

  #changed(): void {
    this.#state.changed();
    for (const state of this.#former) state.changed();
  }

  /** @internal By `Pool.setEnabled`. */
  setEnabled(enabled: boolean): void {
    if (this.enabled === enabled) return;
    if (this.#cells === null) this.#enabled = enabled;
    else this.#cells.disabled = !enabled;
    this.#changed();
  }

  /** @internal By `Pool.setDraining`. */
  setDraining(draining: boolean): void {
    if ((this.#cells === null ? this.#draining : this.#cells.draining) === draining) return;
    if (this.#cells === null) this.#draining = draining;
    else this.#cells.draining = draining;
    this.#changed();
  }

  /** @internal By `Pool.removeServer`; final. */
  leave(): void {
    this.#leaving = true;
    // Workers see it at once, and are told that it is no member any more a moment later.
    if (this.#cells !== null && this.#state.shared?.process === 0) this.#cells.draining = true;
    this.#changed();
  }

  /** @internal By `Pool.setWeight` and `Pool.replaceServers`. */
  configure(init: Pick<ServerInit, "weight" | "backup" | "tags" | "maxInFlight">): void {
    const { weight = this.#weight, backup = this.#backup, maxInFlight = this.#maxInFlight } = init;
    checkServerInit({ id: this.id, weight, maxInFlight });
    const moved = weight !== this.#weight || backup !== this.#backup;
    const roomier = maxInFlight > this.#maxInFlight;
    this.#weight = weight;
    this.#backup = backup;
    this.#tags = init.tags ?? this.#tags;
    this.#maxInFlight = maxInFlight;
    if (moved) {
      this.#state.membersChanged();
      for (const state of this.#former) state.membersChanged();
    } else if (roomier) this.#changed();
  }

  /** @internal By the health checker. */
  setHealth(health: Health): void {
    if (this.health === health) return;
    if (this.#cells === null) this.#health = health;
    else this.#cells.health = HEALTHS.indexOf(health);
    this.#changed();
  }

  /** @internal By the ejection of failing servers; `false` when it was so already. */
  setEjected(ejected: boolean, halfOpen = false): boolean {
    if (this.ejected === ejected && this.halfOpen === halfOpen) return false;
    const cells = this.#cells;
    if (cells !== null) {
      if (!cells.changeEjection(cells.ejection, ejected ? EJECTED : halfOpen ? HALF_OPEN : 0)) return false;
      cells.endTrial(true);
      cells.forgetFailures();
    }
    this.#ejected = ejected;
    this.#halfOpen = halfOpen;
    this.#trial = null;
    this.#consecutiveFailures = 0;
    this.#changed();
    return true;
  }

  /** @internal By slow start: the share of {@linkcode weight} that counts, above 0 and at most 1. */
  setRamp(ramp: number): void {
    if ((this.#cells === null ? this.#ramp : this.#cells.ramp) === ramp) return;
    if (this.#cells === null) this.#ramp = ramp;
    else this.#cells.ramp = ramp;
    this.#changed();
  }
}

const NONE: readonly PoolState[] = Object.freeze([]);

/** What the servers of a pool share: counters and callbacks. Servers know this and not the pool. */
export class PoolState {
  /** Grows when servers are added or removed, or change their weight or rank; health does not count. */
  membership = 0;
  /** Most requests in flight at all servers. */
  maxInFlight = Infinity;
  /** Where the state of servers is; `null` when there is one process. */
  readonly shared: SharedServers | null;
  /** What the pool shares with other processes. */
  readonly cells: SharedCells | null;
  #version = 0;
  #inFlight = 0;
  /** Called when a server may have room for a request; `null` while no request waits. */
  onRoom: (() => void) | null = null;
  /** Called when a server has one request more or less in flight; `null` when the algorithm does not need it. */
  onLoad: ((server: Server) => void) | null = null;
  /** Called when a removed server has finished its last request. */
  onIdle: ((server: Server) => void) | null = null;
  /** Called when members have changed, or what they are configured to. */
  onMembers: (() => void) | null = null;

  /** @param slot of the pool; a new one when left out */
  constructor(shared?: SharedServers | null, slot?: number) {
    this.shared = shared ?? null;
    this.cells = shared === null || shared === undefined ? null : shared.cells(slot ?? shared.allocate());
  }

  /** Grows with every change that may change which server is chosen. */
  get version(): number {
    return this.shared === null ? this.#version : this.#version + this.shared.changes;
  }

  /** Requests in flight at all servers. */
  get inFlight(): number {
    return this.cells === null ? this.#inFlight : this.cells.inFlight;
  }

  /** Counts requests in or out that were not asked for. */
  add(count: number): void {
    if (this.cells === null) this.#inFlight += count;
    else if (count > 0) this.cells.enter(Infinity);
  }

  /** Counts a request in, unless there are as many as may be. */
  enter(): boolean {
    return this.cells!.enter(this.maxInFlight);
  }

  /** Counts a request out. */
  leave(): void {
    if (this.cells === null) this.#inFlight--;
    else this.cells.leave();
  }

  /** Notes a change that may change which server is chosen. */
  changed(): void {
    if (this.shared === null) this.#version++;
    else this.shared.changed();
    this.onRoom?.();
  }

  /** Notes a change of the members, their weights or ranks. */
  membersChanged(): void {
    this.membership++;
    this.changed();
    this.onMembers?.();
  }
}
