/** Counts in Redis or Valkey: one truth for all machines that share it. */

import type { Clock } from "../core/clock.ts";
import { Lease } from "../core/lease.ts";
import type { Charge } from "../limiter/charge.ts";
import { type CountedKey, countedKey } from "../limiter/counted_key.ts";
import type { Admitted, LimiterStore } from "../limiter/limiter_store.ts";
import type { MemoryStore } from "../limiter/memory_store.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { ResolvedRedisStore } from "../limiter/redis_store_options.ts";
import { REPLY_HEAD, REPLY_SIZE } from "./decide_script.ts";
import { decideWithout } from "./decide_without.ts";
import type { RedisLink } from "./redis_link.ts";
import { RefusedKeys } from "./refused_keys.ts";
import { correctCommand, decideCommand, releaseCommand } from "./script_arguments.ts";
import { StorageKeys } from "./storage_keys.ts";
import { TokenLeases } from "./token_leases.ts";

/** What a {@linkcode RedisStore} takes. */
export interface RedisStoreParts {
  link: RedisLink;
  clock: Clock;
  /** Counts by itself while Redis does not answer; on the table of the limiter. */
  memory: MemoryStore;
  policies: readonly ResolvedPolicy[];
  options: ResolvedRedisStore;
  /** Sets the counts apart from those of other limiters. */
  scope: string;
  /** What is known to be refused. @default {nothing} */
  refused?: RefusedKeys;
}

/** A key with the place where it was counted. */
type PlacedKey = CountedKey & Pick<Charge, "place">;

/**
 * Decides in Redis: one command a request, whatever number of policies it has, by a script that checks all and then
 * charges all, with the server's time.
 *
 * The arithmetic is that of the algorithms here, so decisions equal those of the table in memory. An answer that comes too
 * late finds the request decided otherwise, and what it counted stays counted; places it took are given back.
 */
export class RedisStore implements LimiterStore {
  readonly answersLater = true;
  readonly #link: RedisLink;
  readonly #clock: Clock;
  readonly #memory: MemoryStore;
  readonly #options: ResolvedRedisStore;
  readonly #keys: StorageKeys;
  readonly #refused: RefusedKeys;
  readonly #leases: TokenLeases;

  constructor(parts: RedisStoreParts) {
    const { link, clock, memory, policies, options, scope, refused = new RefusedKeys() } = parts;
    this.#refused = refused;
    this.#leases = new TokenLeases(options.lease);
    this.#link = link;
    this.#clock = clock;
    this.#memory = memory;
    this.#options = options;
    this.#keys = new StorageKeys(options.prefix, scope, policies);
  }

  admit(charges: readonly Charge[], count: number): Admitted | Promise<Admitted> {
    const keys = this.#keys.of(charges, count);
    return keys instanceof Promise
      ? keys.then((keys) => this.#admit(charges, count, keys))
      : this.#admit(charges, count, keys);
  }

  hold(charges: readonly Charge[], count: number): Lease | null {
    if (charges[0]!.place === "table") return this.#memory.hold(charges, count);
    const held = placesOf(charges, count);
    return held.length === 0 ? null : new Lease(() => this.#release(held));
  }

  counted(charge: Charge): PlacedKey {
    const { place, decidedAt } = charge;
    if (place === "table") return { ...this.#memory.counted(charge), place };
    return { ...countedKey(charge, decidedAt), place };
  }

  correct(counted: CountedKey, delta: number): void {
    const { place } = counted as PlacedKey;
    if (place === "table") this.#memory.correct(counted, delta);
    else if (place === "store" && delta !== 0) this.#correct(counted, delta);
  }

  reset(policy: ResolvedPolicy, key: string): void {
    this.#leases.clear();
    this.#send([{ policy, key }], (keys) => {
      this.#refused.delete(keys[0]!);
      this.#link.delete(keys);
    });
  }

  #admit(charges: readonly Charge[], count: number, keys: readonly string[]): Admitted | Promise<Admitted> {
    const askedUs = Math.floor(this.#clock.now() * 1000);
    if (this.#leases.take(charges, count, keys, askedUs)) return true;
    if (this.#refused.find(charges, count, keys, askedUs)) return false;
    const command = decideCommand(charges, count, keys, this.#leases.timesFor(charges, count));
    const called = this.#link.run("decide", count, command, this.#undoLate(charges, count));
    if (called === null) return this.#decideWithout(charges, count);
    return called.then((reply) => {
      if (reply === null) return this.#decideWithout(charges, count);
      readVerdicts(charges, count, reply);
      const granted = reply[1]!;
      if (granted > 0) {
        this.#leases.keep(charges, count, keys, granted, askedUs);
        return true;
      }
      this.#refused.add(charges, count, keys, askedUs);
      return false;
    });
  }

  /** What is to be done with an answer that nobody waits for any more: the places in it would be lost. */
  #undoLate(charges: readonly Charge[], count: number): ((reply: readonly number[]) => void) | null {
    const taken = placesOf(charges, count, true);
    if (taken.length === 0) return null;
    return (reply) => {
      if (reply[1] === 0) return;
      const held = taken.map((places) => ({ ...places, expiresAt: endOf(reply, places.at) }));
      this.#release(held.filter(({ at }) => reply[REPLY_HEAD + at * REPLY_SIZE] === 1));
    };
  }

  #decideWithout(charges: readonly Charge[], count: number): Admitted {
    return decideWithout(this.#options, this.#memory, charges, count);
  }

  /** Gives places back without waiting; where that does not reach Redis they come free by time. */
  #release(held: readonly Places[]): void {
    if (held.length === 0) return;
    this.#send(held, (keys) => this.#link.run("release", held.length, releaseCommand(held, keys)));
  }

  #correct(counted: CountedKey, delta: number): void {
    this.#send([counted], (keys) => {
      if (delta < 0) this.#refused.delete(keys[0]!);
      this.#link.run("correct", 1, correctCommand(counted, keys[0]!, delta));
    });
  }

  /** At once if possible: what is asked next in the same turn has to find it done. */
  #send(items: readonly Pick<CountedKey, "policy" | "key">[], send: (keys: readonly string[]) => void): void {
    const keys = this.#keys.of(items, items.length);
    if (keys instanceof Promise) keys.then(send);
    else send(keys);
  }
}

/** As much as giving places back needs to know. */
interface Places extends Pick<CountedKey, "policy" | "key" | "cost" | "windowUs" | "expiresAt"> {
  /** Position among the charges of the request. */
  readonly at: number;
}

/** The places of concurrency policies that charges have taken in the store, or are about to. */
function placesOf(charges: readonly Charge[], count: number, asked = false): readonly Places[] {
  let places: Places[] | null = null;
  for (let at = 0; at < count; at++) {
    const { policy, key, cost, rule, verdict, place } = charges[at]!;
    if (policy.algorithm !== "concurrency") continue;
    if (!asked && (!verdict.admitted || place !== "store")) continue;
    (places ??= []).push({ at, policy, key, cost, windowUs: rule.windowUs, expiresAt: verdict.next.a });
  }
  return places ?? NO_PLACES;
}

const NO_PLACES: readonly Places[] = [];

function endOf(reply: readonly number[], at: number): number {
  return reply[REPLY_HEAD + at * REPLY_SIZE + 4]!;
}

function readVerdicts(charges: readonly Charge[], count: number, reply: readonly number[]): void {
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    const { verdict } = charge;
    const at = REPLY_HEAD + i * REPLY_SIZE;
    charge.place = "store";
    charge.overflowed = false;
    charge.decidedAt = reply[0]!;
    verdict.admitted = reply[at] === 1;
    verdict.remaining = reply[at + 1]!;
    verdict.retryAfterUs = orNever(reply[at + 2]!);
    verdict.resetUs = orNever(reply[at + 3]!);
    verdict.next.a = reply[at + 4]!;
  }
}

function orNever(microseconds: number): number {
  return microseconds < 0 ? Infinity : microseconds;
}
