/** A server of a pool and its state. */

import { Lease } from "../core/lease.ts";
import { type Ineligibility, ineligibility, isAvailable, type Standing } from "./eligibility.ts";
import type { Peer } from "./peer.ts";
import { checkServerInit, type ServerInit } from "./server_spec.ts";

/** What active checks found: `checking` is a server that was not checked yet. */
export type Health = "up" | "down" | "checking";

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
export class Server implements Standing {
  /** The address as configured; unique in its pool. */
  readonly id: string;
  /** Transports keep connections by the identity of this object. */
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

  /**
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
    return this.#weight * this.#ramp;
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
    return this.#inFlight;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  get draining(): boolean {
    return this.#draining || this.#leaving;
  }

  /** Whether it was removed, and finishes its requests. */
  get leaving(): boolean {
    return this.#leaving;
  }

  /** What active checks found. */
  get health(): Health {
    return this.#health;
  }

  get healthy(): boolean {
    return this.#health === "up";
  }

  get ejected(): boolean {
    return this.#ejected;
  }

  /** Whether it gets one request at a time after an ejection, until one gets a response. */
  get halfOpen(): boolean {
    return this.#halfOpen;
  }

  get full(): boolean {
    return this.#inFlight >= this.#maxInFlight || this.#trial !== null;
  }

  /** Whether it may be sent a request now: the rule of `eligibility.ts`. */
  get eligible(): boolean {
    return ineligibility(this) === null;
  }

  /** Requests that have ended since the server was added. */
  get requests(): number {
    return this.#requests;
  }

  /** How many of {@linkcode requests} failed. */
  get failures(): number {
    return this.#failures;
  }

  /** Failures since the last success, or since the last ejection ended. */
  get consecutiveFailures(): number {
    return this.#consecutiveFailures;
  }

  /** Why it may not be sent a request now; `null` when it may. */
  get ineligibility(): Ineligibility | null {
    return ineligibility(this);
  }

  /** Whether it may be sent requests if it is not full. */
  get available(): boolean {
    return isAvailable(this);
  }

  /** Counts a request in; releasing the lease counts it out. Does not ask whether the server is eligible. */
  acquire(): Lease {
    if (this.#halfOpen) return this.acquireTrial();
    return this.#acquire(this.#giveBack);
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
    this.#inFlight++;
    state.inFlight++;
    if (state.onLoad !== null) state.onLoad(this);
    if (this.#former.length > 0) this.#tellFormer(1);
    return new Lease(giveBack);
  }

  #tellFormer(count: 1 | -1): void {
    for (const state of this.#former) {
      state.inFlight += count;
      state.onLoad?.(this);
      if (count < 0) state.onRoom?.();
    }
  }

  /** Counts a request that has ended. */
  count(outcome: Outcome): void {
    this.#requests++;
    if (outcome === "success") this.#consecutiveFailures = 0;
    if (outcome !== "failure") return;
    this.#failures++;
    this.#consecutiveFailures++;
  }

  #release(): void {
    if (this.#inFlight === 0) throw new RangeError(`Cannot release a lease of "${this.id}": none is taken`);
    this.#inFlight--;
    const state = this.#state;
    state.inFlight--;
    if (state.onLoad !== null) state.onLoad(this);
    if (state.onRoom !== null) state.onRoom();
    if (this.#former.length > 0) this.#tellFormer(-1);
    if (this.#leaving && this.#inFlight === 0) state.onIdle?.(this);
  }

  /** @internal Whether it is a member of the pool with this state, and of no later one. */
  isIn(state: PoolState): boolean {
    return this.#state === state;
  }

  /** @internal By `Pool.takeOver`: it becomes a member of another pool as well, whose word counts from now on. */
  join(state: PoolState): void {
    this.#former = Object.freeze([...this.#former, this.#state]);
    this.#state = state;
    state.inFlight += this.#inFlight;
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
    if (former.length < this.#former.length) state.inFlight -= this.#inFlight;
    this.#former = former.length === 0 ? NONE : Object.freeze(former);
    return true;
  }

  #changed(): void {
    this.#state.changed();
    for (const state of this.#former) state.changed();
  }

  /** @internal By `Pool.setEnabled`. */
  setEnabled(enabled: boolean): void {
    if (this.#enabled === enabled) return;
    this.#enabled = enabled;
    this.#changed();
  }

  /** @internal By `Pool.setDraining`. */
  setDraining(draining: boolean): void {
    if (this.#draining === draining) return;
    this.#draining = draining;
    this.#changed();
  }

  /** @internal By `Pool.removeServer`; final. */
  leave(): void {
    this.#leaving = true;
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
    if (this.#health === health) return;
    this.#health = health;
    this.#changed();
  }

  /** @internal By the ejection of failing servers. */
  setEjected(ejected: boolean, halfOpen = false): void {
    if (this.#ejected === ejected && this.#halfOpen === halfOpen) return;
    this.#ejected = ejected;
    this.#halfOpen = halfOpen;
    this.#trial = null;
    this.#consecutiveFailures = 0;
    this.#changed();
  }

  /** @internal By slow start: the share of {@linkcode weight} that counts, above 0 and at most 1. */
  setRamp(ramp: number): void {
    if (this.#ramp === ramp) return;
    this.#ramp = ramp;
    this.#changed();
  }
}

const NONE: readonly PoolState[] = Object.freeze([]);

/** What the servers of a pool share: counters and callbacks. Servers know this and not the pool. */
export class PoolState {
  /** Grows with every change that may change which server is chosen. */
  version = 0;
  /** Grows when servers are added or removed, or change their weight or rank; health does not count. */
  membership = 0;
  /** Requests in flight at all servers. */
  inFlight = 0;
  /** Called when a server may have room for a request; `null` while no request waits. */
  onRoom: (() => void) | null = null;
  /** Called when a server has one request more or less in flight; `null` when the algorithm does not need it. */
  onLoad: ((server: Server) => void) | null = null;
  /** Called when a removed server has finished its last request. */
  onIdle: ((server: Server) => void) | null = null;

  /** Notes a change that may change which server is chosen. */
  changed(): void {
    this.version++;
    this.onRoom?.();
  }

  /** Notes a change of the members, their weights or ranks. */
  membersChanged(): void {
    this.membership++;
    this.changed();
  }
}
