/** Permits of concurrency policies that this instance holds in Redis. */

import type { Timers } from "../core/clock.ts";
import { LEASE_US, type LeaseAction, PERMIT_TTL_MS, SESSIONS } from "./scripts.ts";
import type { RedisLink } from "./redis_link.ts";

/** Interval of renewals: two of three may fail. */
const RENEW_MS = Math.floor(LEASE_US / 1000 * 0.3);
/** Number of renewals after which the lifetime of keys is extended: three times before they expire. */
const RENEWALS_A_KEY = Math.floor(PERMIT_TTL_MS / 3 / RENEW_MS);
/** Maximum number of keys per command, so that no command blocks Redis for long. */
const KEYS_A_COMMAND = 200;

/** Options of {@linkcode Permits}. */
interface PermitsOptions {
  link: RedisLink;
  timers: Timers;
  /** Returns numbers from 1 to 2^33 - 1 that are unique to this instance. */
  createId: () => number;
  /** The Redis key with the instances that are alive. */
  instancesKey: string;
}

/** The permits of one key that requests of this instance hold. */
interface HeldKey {
  readonly key: string;
  cost: number;
  /** Number of requests that hold them. */
  parts: number;
}

/** The permits of one request for a key. */
export interface HeldPart {
  readonly held: HeldKey;
  readonly cost: number;
}

/**
 * Tracks the permits held by this instance, and keeps Redis in sync.
 *
 * Permits belong to a session of the instance, which renews the session's lease. While a connection works, each change
 * is sent to Redis. If a change may be lost or delayed, or the lease has ended, the session ends: its changes no longer
 * count, and a new session begins with the permits held now. So unsent changes need not be stored, and no change counts
 * twice.
 */
export class Permits implements Disposable {
  readonly #options: PermitsOptions;
  readonly #held: Map<string, HeldKey> = new Map();
  /** 0: none, since no permit was ever held. */
  #session = 0;
  /** Whether Redis has received all changes of this session, as far as known here. */
  #inSync = true;
  #renewals = 0;
  #timer: Disposable | null = null;
  #disposed = false;

  constructor(options: PermitsOptions) {
    this.#options = options;
    options.link.onUsable(() => this.#session !== 0 && this.#begin());
  }

  /** The key of the instances, for the decision script. */
  get instancesKey(): string {
    return this.#options.instancesKey;
  }

  /** The current session for requests for permits. */
  session(): number {
    if (this.#session === 0 && !this.#disposed) {
      this.#session = this.#options.createId() * SESSIONS;
      this.#send("begin", []);
      this.#renewLater();
    }
    return this.#session;
  }

  /** Starts a new session after Redis reported the end of a session. */
  noteEnded(session: number): void {
    if (session === this.#session && !this.#disposed) this.#begin();
  }

  /** Records a permit that was granted in a session. */
  hold(key: string, cost: number, session: number): HeldPart {
    let held = this.#held.get(key);
    if (held === undefined) this.#held.set(key, held = { key, cost: 0, parts: 0 });
    held.cost += cost;
    held.parts++;
    // Redis does not know a grant of an earlier session in the new one.
    if (session !== this.#session) this.#send("leave", [[key, cost]]);
    return { held, cost };
  }

  /** Releases permits returned by {@linkcode hold}. */
  release(parts: readonly HeldPart[]): void {
    const changes: [key: string, cost: number][] = [];
    for (const { held, cost } of parts) {
      held.cost -= cost;
      // The key was reset meanwhile, with all its permits.
      if (this.#held.get(held.key) !== held) continue;
      if (--held.parts === 0) this.#held.delete(held.key);
      changes.push([held.key, -cost]);
    }
    if (changes.length > 0) this.#send("leave", changes);
  }

  /** Releases permits that were granted in a session after their request had timed out. */
  refuse(taken: readonly { key: string; cost: number }[], session: number): void {
    if (session !== this.#session || taken.length === 0) return;
    this.#send("leave", taken.map(({ key, cost }) => [key, -cost]));
  }

  /** Forgets a key that was deleted in Redis too. */
  forget(key: string): void {
    this.#held.delete(key);
  }

  /** Ends the session, with the permits still held. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    if (this.#session !== 0) this.#send("end", []);
    this.#held.clear();
  }

  /** Begins a new session; without a connection, this happens when there is one again. */
  #begin(as: "same" | "another" = "same"): void {
    if (this.#disposed || !this.#options.link.available) return;
    const next = this.#session + 1;
    this.#session = as === "another" || next % SESSIONS === 0 ? this.#options.createId() * SESSIONS : next;
    this.#inSync = true;
    this.#send("begin", Array.from(this.#held.values(), ({ key, cost }) => [key, cost]));
  }

  #renewLater(): void {
    this.#timer = this.#options.timers.setTimer(() => {
      this.#renewLater();
      if (!this.#inSync) this.#begin();
      else this.#renew();
    }, RENEW_MS);
  }

  #renew(): void {
    const all = ++this.#renewals % RENEWALS_A_KEY === 0 ? [...this.#held.keys()] : [];
    this.#send("renew", all.map((key) => [key, 0]));
  }

  /** Sends changes; changes that cannot be sent now are included in the next session. */
  #send(action: LeaseAction, changes: readonly (readonly [key: string, cost: number])[]): void {
    const { link, instancesKey } = this.#options;
    const session = this.#session;
    const onError = (): void => {
      if (session === this.#session) this.#inSync = false;
    };
    for (let at = 0; at === 0 || at < changes.length; at += KEYS_A_COMMAND) {
      const end = Math.min(at + KEYS_A_COMMAND, changes.length);
      const begins = action === "begin" && at === 0;
      const args = [instancesKey];
      for (let i = at; i < end; i++) args.push(changes[i]![0]);
      args.push(String(session), at === 0 ? action : "leave");
      for (let i = at; i < end; i++) args.push(String(changes[i]![1]));
      const sent = link.send("permit", 1 + end - at, args, ([done]) => {
        if (done !== 0 || session !== this.#session) return;
        // A later session can only belong to an instance that has the same number by chance.
        this.#begin(begins ? "another" : "same");
      }, onError);
      if (!sent) return;
    }
  }
}
