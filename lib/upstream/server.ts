/** A server of a pool and its state. */

import { Lease } from "../core/cancellation.ts";
import { ineligibility, isAvailable } from "./eligibility.ts";
import { checkServerInit, type Peer, type ServerInit } from "./peer.ts";
import type { SharedCells, SharedServers } from "./shared_servers.ts";

/** The result of active checks; `checking` is a server that was not checked yet. */
export type Health = "up" | "down" | "checking";

/** {@linkcode Health} by its number in shared memory. */
const HEALTHS: readonly Health[] = ["up", "down", "checking"];

/** The numbers of {@linkcode Server.ejected} and {@linkcode Server.halfOpen} in shared memory. */
const EJECTED = 1;
const HALF_OPEN = 2;

/**
 * The outcome of a request to a server. `failure`: no response, or a response that shows a failure of the server or of a
 * system behind it. `ignored`: the outcome says nothing about the server (4xx, 429, a client that disconnected).
 */
export type Outcome = "success" | "failure" | "ignored";

/**
 * The stage that a request to a server reached: connecting, the TLS handshake, or waiting for a response; `response` if a
 * response arrived, whatever its status.
 */
export type Stage = "connect" | "tls" | "request" | "response";

/** A server of a pool. The object is the same as long as the server is a member, even if its configuration changes. */
export class Server {
  /** The address as configured; unique in its pool. */
  readonly id: string;
  /** The target for transports, which keep connections by the identity of this object. */
  readonly peer: Peer;
  /** State of its pool. */
  #state: PoolState;
  /** States of pools of former configurations, until their last request has ended. */
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
  /** Its state in shared memory, in place of the fields above; `null` if there is only one process. */
  readonly #cells: SharedCells | null;

  /**
   * @internal
   * Makes a server that is healthy, enabled and idle.
   *
   * @param state shared with the other servers of its pool
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

  /** Current share of the requests: smaller than {@linkcode weight} during slow start. */
  get effectiveWeight(): number {
    return this.#weight * (this.#cells === null ? this.#ramp : this.#cells.ramp);
  }

  /** Used only when no primary server can be used. */
  get backup(): boolean {
    return this.#backup;
  }

  /** Tags from the configuration. */
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

  /** `false` if an operator has disabled the server. */
  get enabled(): boolean {
    return this.#cells === null ? this.#enabled : !this.#cells.disabled;
  }

  /** Whether the server finishes its requests and gets no new ones. */
  get draining(): boolean {
    return this.#leaving || (this.#cells === null ? this.#draining : this.#cells.draining);
  }

  /** Whether the server was removed, and finishes its requests. */
  get leaving(): boolean {
    return this.#leaving;
  }

  /** @internal Whether the supervisor has removed it, and this process has not received the new list of servers yet. */
  get outdated(): boolean {
    return !this.#leaving && this.#cells !== null && this.#cells.removed;
  }

  /** The result of active checks. */
  get health(): "up" | "down" | "checking" {
    return this.#cells === null ? this.#health : HEALTHS[this.#cells.health]!;
  }

  /** Whether active checks pass; `true` without checks. */
  get healthy(): boolean {
    return this.#cells === null ? this.#health === "up" : this.#cells.health === 0;
  }

  /** Whether the server gets no requests for a time because requests failed. */
  get ejected(): boolean {
    return this.#cells === null ? this.#ejected : this.#cells.ejection === EJECTED;
  }

  /** Whether the server gets one request at a time after an ejection, until one gets a response. */
  get halfOpen(): boolean {
    return this.#cells === null ? this.#halfOpen : this.#cells.ejection === HALF_OPEN;
  }

  /** Whether the server has as many requests in flight as allowed. */
  get full(): boolean {
    const cells = this.#cells;
    if (cells !== null) return cells.inFlight >= this.#maxInFlight || cells.tried;
    return this.#inFlight >= this.#maxInFlight || this.#trial !== null;
  }

  /** Whether the server is eligible for a request now, by the rule of `eligibility.ts`. */
  get eligible(): boolean {
    return ineligibility(this) === null;
  }

  /** Number of requests that have ended since the server was added. */
  get requests(): number {
    return this.#cells === null ? this.#requests : this.#cells.requests;
  }

  /** Number of {@linkcode requests} that failed. */
  get failures(): number {
    return this.#cells === null ? this.#failures : this.#cells.failures;
  }

  /** Failures since the last success, or since the last ejection ended. */
  get consecutiveFailures(): number {
    return this.#cells === null ? this.#consecutiveFailures : this.#cells.failuresInARow;
  }

  /** @internal Its state in shared memory; `null` if there is only one process. */
  get cells(): SharedCells | null {
    return this.#cells;
  }

  /** Why the server is not eligible now; `null` if it is. */
  get ineligibility(): "disabled" | "draining" | "unhealthy" | "ejected" | "full" | null {
    return ineligibility(this);
  }

  /** Whether the server is eligible if it is not full. */
  get available(): boolean {
    return isAvailable(this);
  }

  /** Counts a request in flight until the lease is released. Does not check whether the server is eligible. */
  acquire(): Lease {
    if (this.halfOpen) return this.acquireTrial();
    return this.#acquire(this.#giveBack);
  }

  /** @internal Counts a request in flight; `null` if other processes have filled the server or its pool since the choice. */
  tryAcquire(): Lease | null {
    const cells = this.#cells;
    if (cells === null) return this.acquire();
    if (this.halfOpen) return this.tryAcquireTrial();
    return this.#enter(cells) ? new Lease(this.#giveBack) : null;
  }

  /** @internal Same as {@linkcode acquireTrial}; `null` if another process has a trial request at the server. */
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

  /** @internal Counts a trial request after an ejection; the server is full as long as it runs. */
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
    if (this.#former.length > 0) this.#updateFormer(1);
    return new Lease(giveBack);
  }

  #updateFormer(count: 1 | -1): void {
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
    if (this.#former.length > 0) this.#updateFormer(-1);
    if (this.#leaving && own === 1) state.onIdle?.(this);
  }

  /** @internal Whether it is a member of the pool with this state, and of no later one. */
  isIn(state: PoolState): boolean {
    return this.#state === state;
  }

  /** @internal For `Pool.takeOver`: makes it a member of another pool too, which controls it from now on. */
  join(state: PoolState): void {
    this.#former = Object.freeze([...this.#former, this.#state]);
    this.#state = state;
    state.add(this.#inFlight);
  }

  /**
   * Removes it from that pool.
   *
   * @returns whether it is a member of another pool
   * @internal For `Pool`
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

  /** @internal For `Pool.setEnabled`. */
  setEnabled(enabled: boolean): void {
    if (this.enabled === enabled) return;
    if (this.#cells === null) this.#enabled = enabled;
    else this.#cells.disabled = !enabled;
    this.#changed();
  }

  /** @internal For `Pool.setDraining`. */
  setDraining(draining: boolean): void {
    if ((this.#cells === null ? this.#draining : this.#cells.draining) === draining) return;
    if (this.#cells === null) this.#draining = draining;
    else this.#cells.draining = draining;
    this.#changed();
  }

  /** @internal For `Pool.removeServer`; cannot be undone. */
  leave(): void {
    this.#leaving = true;
    // Workers see this at once; the message that the server is no member any more arrives later.
    if (this.#cells !== null && this.#state.shared?.process === 0) this.#cells.remove();
    this.#changed();
  }

  /** @internal For `Pool.setWeight` and `Pool.replaceServers`. */
  configure(init: Pick<ServerInit, "weight" | "backup" | "tags" | "maxInFlight">): void {
    const { weight = this.#weight, backup = this.#backup, maxInFlight = this.#maxInFlight } = init;
    checkServerInit({ id: this.id, weight, maxInFlight });
    const isMoved = weight !== this.#weight || backup !== this.#backup;
    const hasMoreRoom = maxInFlight > this.#maxInFlight;
    this.#weight = weight;
    this.#backup = backup;
    this.#tags = init.tags ?? this.#tags;
    this.#maxInFlight = maxInFlight;
    if (isMoved) {
      this.#state.membersChanged();
      for (const state of this.#former) state.membersChanged();
    } else if (hasMoreRoom) this.#changed();
  }

  /** @internal For the health checker. */
  setHealth(health: Health): void {
    if (this.health === health) return;
    if (this.#cells === null) this.#health = health;
    else this.#cells.health = HEALTHS.indexOf(health);
    this.#changed();
  }

  /** @internal For ejection; returns `false` if the state was the same, or another process has changed it. */
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

  /** @internal For slow start: the share of {@linkcode weight} that is used, above 0 and at most 1. */
  setRamp(ramp: number): void {
    if ((this.#cells === null ? this.#ramp : this.#cells.ramp) === ramp) return;
    if (this.#cells === null) this.#ramp = ramp;
    else this.#cells.ramp = ramp;
    this.#changed();
  }
}

const NONE: readonly PoolState[] = Object.freeze([]);

/** Counters and callbacks that the servers of a pool share. Servers know this object, not the pool. */
export class PoolState {
  /** Grows when servers are added or removed, or change their weight or rank; not with health. */
  membership = 0;
  /** Most requests in flight at all servers. */
  maxInFlight = Infinity;
  /** Shared memory with the state of servers; `null` if there is only one process. */
  readonly shared: SharedServers | null;
  /** State of the pool in shared memory; `null` if there is only one process. */
  readonly cells: SharedCells | null;
  #version = 0;
  #inFlight = 0;
  /** Called when a server may have room for a request; `null` while no request waits. */
  onRoom: (() => void) | null = null;
  /** Called when a server has one request more or less in flight; `null` if the algorithm does not need it. */
  onLoad: ((server: Server) => void) | null = null;
  /** Called when a removed server has finished its last request. */
  onIdle: ((server: Server) => void) | null = null;
  /** Called when members or their configuration have changed. */
  onMembers: (() => void) | null = null;

  /** @param slot the slot of the pool; if left out, a new one is allocated */
  constructor(shared?: SharedServers | null, slot?: number) {
    this.shared = shared ?? null;
    this.cells = shared === null || shared === undefined ? null : shared.cells(slot ?? shared.allocate());
  }

  /** Grows with every change that may affect the choice of a server. */
  get version(): number {
    return this.shared === null ? this.#version : this.#version + this.shared.changes;
  }

  /** Requests in flight at all servers. */
  get inFlight(): number {
    return this.cells === null ? this.#inFlight : this.cells.inFlight;
  }

  /** Adds to the requests in flight, without a limit. */
  add(count: number): void {
    if (this.cells === null) this.#inFlight += count;
    else if (count > 0) this.cells.enter(Infinity);
  }

  /** Counts a request in flight; `false` if there are already as many as allowed. */
  enter(): boolean {
    return this.cells!.enter(this.maxInFlight);
  }

  /** Counts a request that has ended. */
  leave(): void {
    if (this.cells === null) this.#inFlight--;
    else this.cells.leave();
  }

  /** Records a change that may affect the choice of a server. */
  changed(): void {
    if (this.shared === null) this.#version++;
    else this.shared.changed();
    this.onRoom?.();
  }

  /** Records a change of the members, their weights or ranks. */
  membersChanged(): void {
    this.membership++;
    this.changed();
    this.onMembers?.();
  }
}
