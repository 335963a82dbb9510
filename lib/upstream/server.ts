/** One server of a pool, with everything that changes about it while the proxy runs. */

import { describeValue } from "../core/describe_value.ts";
import { Lease } from "../core/lease.ts";
import { type Ineligibility, ineligibility, isAvailable, type Standing } from "./eligibility.ts";
import type { Peer } from "./peer.ts";
import { PoolState } from "./pool_state.ts";

/** Largest weight; with much more, sums of weights would not be exact. */
export const MAX_WEIGHT = 65_535;

/** What active checks know: `checking` is a server that was never checked yet. */
export type Health = "up" | "down" | "checking";

/**
 * How a request to a server ended: `failure` when it gave no answer or one that blames the server or what is behind
 * it, `ignored` when it says nothing about the server (4xx, 429, the client went away).
 */
export type Outcome = "success" | "failure" | "ignored";

/**
 * The last thing that was tried at a server: to connect, to agree on TLS, to get a response to a request; `response`
 * when one came, whatever it says.
 */
export type Stage = "connect" | "tls" | "request" | "response";

/** A server as a pool takes it, complete. */
export interface ServerInit {
  /** The address as configured; unique in its pool. */
  readonly id: string;
  /** How transports reach it. */
  readonly peer: Peer;
  /** Share of the requests, beside the others': 0 (none) to 65535. @default {1} */
  readonly weight?: number;
  /** Only used when no server that is not a backup can be. @default {false} */
  readonly backup?: boolean;
  /** Words of the operator, for filters and logs. @default {[]} */
  readonly tags?: readonly string[];
  /** How many requests may run at once. @default {Infinity} */
  readonly maxInFlight?: number;
}

/** A server of a pool. Its identity stays while it is a member, whatever changes about it. */
export class Server implements Standing {
  /** The address as configured; unique in its pool. */
  readonly id: string;
  /** Transports keep connections by the identity of this object. */
  readonly peer: Peer;
  readonly #state: PoolState;
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

  /** Share of the requests as configured. */
  get weight(): number {
    return this.#weight;
  }

  /** Share of the requests at this moment: smaller than {@linkcode weight} during a slow start. */
  get effectiveWeight(): number {
    return this.#weight * this.#ramp;
  }

  /** Only used when no server that is not a backup can be. */
  get backup(): boolean {
    return this.#backup;
  }

  /** Words of the operator. */
  get tags(): readonly string[] {
    return this.#tags;
  }

  /** How many requests may run at once. */
  get maxInFlight(): number {
    return this.#maxInFlight;
  }

  /** Requests that run now. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  get draining(): boolean {
    return this.#draining || this.#leaving;
  }

  /** What active checks know. */
  get health(): Health {
    return this.#health;
  }

  get healthy(): boolean {
    return this.#health === "up";
  }

  get ejected(): boolean {
    return this.#ejected;
  }

  /** Whether one request at a time is let through after an ejection, until one has got a response. */
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

  /** Failures since the last success, or since the server was last let back in. */
  get consecutiveFailures(): number {
    return this.#consecutiveFailures;
  }

  /** Why it may not be sent a request now; `null` when it may. */
  get ineligibility(): Ineligibility | null {
    return ineligibility(this);
  }

  /** Whether it may be sent requests, its requests in flight left aside. */
  get available(): boolean {
    return isAvailable(this);
  }

  /** Counts a request in; the lease counts it out. Does not ask whether the server is eligible. */
  acquire(): Lease {
    if (this.#halfOpen) return this.acquireTrial();
    return this.#acquire(this.#giveBack);
  }

  /** @internal The same for a request that tries whether the server works again; it is full as long as that runs. */
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
    return new Lease(giveBack);
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
    if (this.#leaving && this.#inFlight === 0) state.onIdle?.(this);
  }

  /** @internal By `Pool.setEnabled`. */
  setEnabled(enabled: boolean): void {
    if (this.#enabled === enabled) return;
    this.#enabled = enabled;
    this.#state.changed();
  }

  /** @internal By `Pool.setDraining`. */
  setDraining(draining: boolean): void {
    if (this.#draining === draining) return;
    this.#draining = draining;
    this.#state.changed();
  }

  /** @internal By `Pool.removeServer`; there is no way back. */
  leave(): void {
    this.#leaving = true;
    this.#state.changed();
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
    if (moved) this.#state.membersChanged();
    else if (roomier) this.#state.changed();
  }

  /** @internal By the health checker. */
  setHealth(health: Health): void {
    if (this.#health === health) return;
    this.#health = health;
    this.#state.changed();
  }

  /** @internal By the ejection of failing servers. */
  setEjected(ejected: boolean, halfOpen = false): void {
    if (this.#ejected === ejected && this.#halfOpen === halfOpen) return;
    this.#ejected = ejected;
    this.#halfOpen = halfOpen;
    this.#trial = null;
    this.#consecutiveFailures = 0;
    this.#state.changed();
  }

  /** @internal By slow start: the share of {@linkcode weight} that counts, above 0 and at most 1. */
  setRamp(ramp: number): void {
    if (this.#ramp === ramp) return;
    this.#ramp = ramp;
    this.#state.changed();
  }
}

/**
 * Looks at the numbers of a server, which are those of a configuration also where they come from a program.
 *
 * @throws {RangeError} when its weight or its limit is none
 */
export function checkServerInit({ id, weight = 1, maxInFlight = Infinity }: Omit<ServerInit, "peer">): void {
  if (!(typeof weight === "number" && weight >= 0 && weight <= MAX_WEIGHT)) {
    throw new RangeError(
      `Cannot weigh server "${id}": the weight must be a number from 0 to ${MAX_WEIGHT}, received ${
        describeValue(weight)
      }`,
    );
  }
  if (!(maxInFlight === Infinity || (Number.isSafeInteger(maxInFlight) && maxInFlight >= 0))) {
    throw new RangeError(
      `Cannot limit server "${id}": "maxInFlight" must be a whole number from 0 on or Infinity, received ${
        describeValue(maxInFlight)
      }`,
    );
  }
}
