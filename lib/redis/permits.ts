/** What this instance holds of concurrency policies in Redis, from the admission of requests to their end. */

import type { Timers } from "../core/clock.ts";
import { LEASE_US, type LeaseAction, PERMIT_TTL_MS, SESSIONS } from "./scripts.ts";
import type { RedisLink } from "./redis_link.ts";

/** How often the lease is renewed: two of three may fail. */
const RENEW_MS = Math.floor(LEASE_US / 1000 * 0.3);
/** After so many renewals keys are told to live on; three times before they end. */
const RENEWALS_A_KEY = Math.floor(PERMIT_TTL_MS / 3 / RENEW_MS);
/** How many keys one command tells of, so that none of them takes Redis long. */
const KEYS_A_COMMAND = 200;

/** What a {@linkcode Permits} takes. */
interface PermitsOptions {
  link: RedisLink;
  timers: Timers;
  /** Makes numbers from 1 to 2^33 - 1 that no other instance has. */
  createId: () => number;
  /** Where Redis keeps which instances are alive. */
  instancesKey: string;
}

/** What requests of this instance hold of one key. */
interface HeldKey {
  readonly key: string;
  cost: number;
  /** By how many requests. */
  parts: number;
}

/** Some of what is held of a key. */
export interface HeldPart {
  readonly held: HeldKey;
  readonly cost: number;
}

/**
 * Keeps account of what is held here, and keeps Redis to it.
 *
 * What an instance holds is told apart by its session, whose lease it renews. As long as a connection works, Redis is
 * told of each change. When something may not have reached it, or may yet, or the lease has ended, the session is over:
 * whatever was said in it counts no more, and a new one begins with what is held now. So nothing has to be kept that
 * could not be sent, and nothing counts twice that was.
 */
export class Permits implements Disposable {
  readonly #options: PermitsOptions;
  readonly #held: Map<string, HeldKey> = new Map();
  /** 0: none, as nothing was ever held. */
  #session = 0;
  /** Whether Redis knows all that it was told in this session, as far as is known here. */
  #inStep = true;
  #renewals = 0;
  #timer: Disposable | null = null;
  #disposed = false;

  constructor(options: PermitsOptions) {
    this.#options = options;
    options.link.onUsable(() => this.#session !== 0 && this.#begin());
  }

  /** The key of the instances, for the script that decides. */
  get instancesKey(): string {
    return this.#options.instancesKey;
  }

  /** The session in which to ask for permits now. */
  session(): number {
    if (this.#session === 0 && !this.#disposed) {
      this.#session = this.#options.createId() * SESSIONS;
      this.#tell("begin", []);
      this.#renewLater();
    }
    return this.#session;
  }

  /** Told when Redis says that a session is over. */
  noteEnded(session: number): void {
    if (session === this.#session && !this.#disposed) this.#begin();
  }

  /** Takes into account what was granted in a session. */
  hold(key: string, cost: number, session: number): HeldPart {
    let held = this.#held.get(key);
    if (held === undefined) this.#held.set(key, held = { key, cost: 0, parts: 0 });
    held.cost += cost;
    held.parts++;
    // Of the session that has begun meanwhile, Redis does not know it.
    if (session !== this.#session) this.#tell("leave", [[key, cost]]);
    return { held, cost };
  }

  /** Gives back what {@linkcode hold} has given. */
  release(parts: readonly HeldPart[]): void {
    const changes: [key: string, cost: number][] = [];
    for (const { held, cost } of parts) {
      held.cost -= cost;
      // Forgotten meanwhile, with all that was held of it.
      if (this.#held.get(held.key) !== held) continue;
      if (--held.parts === 0) this.#held.delete(held.key);
      changes.push([held.key, -cost]);
    }
    if (changes.length > 0) this.#tell("leave", changes);
  }

  /** Gives back what was granted in a session too late for anybody to have it. */
  refuse(taken: readonly { key: string; cost: number }[], session: number): void {
    if (session !== this.#session || taken.length === 0) return;
    this.#tell("leave", taken.map(({ key, cost }) => [key, -cost]));
  }

  /** Lets go of a key that is forgotten in Redis too. */
  forget(key: string): void {
    this.#held.delete(key);
  }

  /** Ends the session, with whatever is held still. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    if (this.#session !== 0) this.#tell("end", []);
    this.#held.clear();
  }

  /** Where Redis cannot be told, it is when it can be. */
  #begin(as: "same" | "another" = "same"): void {
    if (this.#disposed || !this.#options.link.available) return;
    const next = this.#session + 1;
    this.#session = as === "another" || next % SESSIONS === 0 ? this.#options.createId() * SESSIONS : next;
    this.#inStep = true;
    this.#tell("begin", Array.from(this.#held.values(), ({ key, cost }) => [key, cost]));
  }

  #renewLater(): void {
    this.#timer = this.#options.timers.setTimer(() => {
      this.#renewLater();
      if (!this.#inStep) this.#begin();
      else this.#renew();
    }, RENEW_MS);
  }

  #renew(): void {
    const all = ++this.#renewals % RENEWALS_A_KEY === 0 ? [...this.#held.keys()] : [];
    this.#tell("renew", all.map((key) => [key, 0]));
  }

  /** Sends what has changed; what cannot be sent now is part of the session that begins when it can. */
  #tell(action: LeaseAction, changes: readonly (readonly [key: string, cost: number])[]): void {
    const { link, instancesKey } = this.#options;
    const session = this.#session;
    const onError = (): void => {
      if (session === this.#session) this.#inStep = false;
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
        // A later session can only be that of somebody who has the same number by chance.
        this.#begin(begins ? "another" : "same");
      }, onError);
      if (!sent) return;
    }
  }
}
