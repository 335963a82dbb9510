/** Counts in Redis or Valkey, shared by all machines; and the stores of one proxy with their connections. */

import { Lease } from "../core/cancellation.ts";
import type { Clock } from "../core/clock.ts";
import { type Charge, type CountedKey, countedKey } from "../limiter/charge.ts";
import type { Admitted, LimiterStore, MemoryStore } from "../limiter/memory_store.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { type ResolvedRedisStore, storeAddress } from "../limiter/redis_store_options.ts";
import { IoredisConnection } from "./ioredis_connection.ts";
import { PrefetchedTokens, RefusedKeys } from "./kept_entries.ts";
import type { HeldPart } from "./permits.ts";
import { REPLY_HEAD, REPLY_SIZE } from "./scripts.ts";
import { decideCommand, StorageKeys, StoreConnection } from "./store_connection.ts";

/** What a {@linkcode RedisStore} takes. */
interface RedisStoreParts {
  connection: StoreConnection;
  clock: Clock;
  /** Counts while Redis does not reply, in the table of the limiter. */
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
 * The arithmetic is that of the algorithms here, so decisions equal those of the table in memory; only that a permit of a
 * concurrency policy lasts for as long as its request, whatever the window, and for no longer than this instance. An
 * reply that comes too late changes no decision, and what it counted stays counted; permits are given
 * back.
 */
export class RedisStore implements LimiterStore {
  readonly answersLater = true;
  readonly #connection: StoreConnection;
  readonly #clock: Clock;
  readonly #memory: MemoryStore;
  readonly #options: ResolvedRedisStore;
  readonly #keys: StorageKeys;
  readonly #refused: RefusedKeys;
  readonly #prefetched: PrefetchedTokens;
  readonly #asksForPermits: boolean;

  constructor(parts: RedisStoreParts) {
    const { connection, clock, memory, policies, options, scope, refused = new RefusedKeys() } = parts;
    this.#refused = refused;
    this.#prefetched = new PrefetchedTokens(options.prefetch);
    this.#connection = connection;
    this.#asksForPermits = policies.some(({ algorithm }) => algorithm === "concurrency");
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
    const { permits } = this.#connection;
    let parts: HeldPart[] | null = null;
    for (let i = 0; i < count; i++) {
      const { policy, verdict, place, storeKey, session, cost } = charges[i]!;
      if (policy.algorithm !== "concurrency" || place !== "store" || !verdict.admitted) continue;
      (parts ??= []).push(permits.hold(storeKey, cost, session));
    }
    if (parts === null) return null;
    const held = parts;
    return new Lease(() => permits.release(held));
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
    this.#prefetched.clear();
    this.#named([{ policy, key }], ([name]) => {
      this.#refused.delete(name!);
      this.#connection.permits.forget(name!);
      this.#connection.backlog.forget(name!);
    });
  }

  #admit(charges: readonly Charge[], count: number, keys: readonly string[]): Admitted | Promise<Admitted> {
    const askedUs = Math.floor(this.#clock.now() * 1000);
    if (this.#prefetched.take(charges, count, keys, askedUs)) return true;
    if (this.#refused.find(charges, count, keys, askedUs)) return false;
    const session = this.#asksForPermits && hasPermits(charges, count)
      ? this.#connection.permits.session()
      : 0;
    const called = session === 0
      ? this.#ask(charges, count, keys)
      : this.#askForPermits(session, charges, count, keys);
    if (called === null) return this.#decideWithout(charges, count);
    return called.then((reply) => {
      return reply !== null && reply[1] === -1
        ? this.#admitAgain(session, charges, count, keys)
        : this.#obey(reply, charges, count, keys, askedUs);
    });
  }

  /** Behind what is held here, which Redis did not know of. */
  #admitAgain(
    ended: number,
    charges: readonly Charge[],
    count: number,
    keys: readonly string[],
  ): Admitted | Promise<Admitted> {
    const { permits } = this.#connection;
    permits.noteEnded(ended);
    const askedUs = Math.floor(this.#clock.now() * 1000);
    const called = this.#askForPermits(permits.session(), charges, count, keys);
    if (called === null) return this.#decideWithout(charges, count);
    return called.then((reply) => this.#obey(reply, charges, count, keys, askedUs));
  }

  #obey(
    reply: readonly number[] | null,
    charges: readonly Charge[],
    count: number,
    keys: readonly string[],
    askedUs: number,
  ): Admitted {
    if (reply === null || reply[1]! < 0) return this.#decideWithout(charges, count);
    readVerdicts(charges, count, reply);
    const granted = reply[1]!;
    if (granted > 0) {
      this.#prefetched.keep(charges, count, keys, granted, askedUs);
      return true;
    }
    this.#refused.add(charges, count, keys, askedUs);
    return false;
  }

  #ask(charges: readonly Charge[], count: number, keys: readonly string[]): PendingReply {
    const command = decideCommand(charges, count, keys, this.#prefetched.timesFor(charges, count));
    return this.#connection.link.run("decide", count, command);
  }

  #askForPermits(
    session: number,
    charges: readonly Charge[],
    count: number,
    keys: readonly string[],
  ): PendingReply {
    const { link, permits } = this.#connection;
    const asked: { at: number; key: string; cost: number }[] = [];
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      charge.storeKey = keys[i]!;
      charge.session = session;
      if (charge.policy.algorithm === "concurrency") asked.push({ at: i, key: keys[i]!, cost: charge.cost });
    }
    const command = decideCommand(charges, count, [...keys, permits.instancesKey], 1, session);
    return link.run("decide", count + 1, command, (reply) => {
      // Nobody waits for it any more, and what it took would be lost.
      if (reply[1]! <= 0) return;
      const taken = asked.filter(({ at }) => reply[REPLY_HEAD + at * REPLY_SIZE] === 1);
      permits.refuse(taken, session);
    });
  }

  #decideWithout(charges: readonly Charge[], count: number): Admitted {
    return decideWithout(this.#options, this.#memory, charges, count);
  }

  #correct(counted: CountedKey, delta: number): void {
    this.#named([counted], ([name]) => {
      if (delta < 0) this.#refused.delete(name!);
      this.#connection.backlog.correct(counted, name!, delta);
    });
  }

  /** At once if possible: what is asked next in the same turn has to find it done. */
  #named(
    items: readonly Pick<CountedKey, "policy" | "key">[],
    use: (names: readonly string[]) => void,
  ): void {
    const names = this.#keys.of(items, items.length);
    if (names instanceof Promise) names.then(use);
    else use(names);
  }
}

type PendingReply = Promise<readonly number[] | null> | null;

function hasPermits(charges: readonly Charge[], count: number): boolean {
  for (let i = 0; i < count; i++) if (charges[i]!.policy.algorithm === "concurrency") return true;
  return false;
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

// What happens to requests while Redis does not reply.

/** What a client is told to wait that is refused because nobody can count it. */
const RETRY_AFTER_US = 1_000_000;

/** Decides by what the configuration wants: lets pass, refuses, or counts in this instance's own table. */
function decideWithout(
  { onStoreError, instances }: ResolvedRedisStore,
  memory: MemoryStore,
  charges: readonly Charge[],
  count: number,
): Admitted {
  for (let i = 0; i < count; i++) charges[i]!.place = onStoreError === "local" ? "table" : "nowhere";
  switch (onStoreError) {
    case "local":
      return decideLocally(memory, charges, count, instances);
    case "open":
      for (let i = 0; i < count; i++) say(charges[i]!, true);
      return true;
    case "closed":
      return refuseAll(charges, count);
  }
}

function decideLocally(
  memory: MemoryStore,
  charges: readonly Charge[],
  count: number,
  instances: number,
): boolean {
  for (let i = 0; i < count; i++) {
    const { rule } = charges[i]!;
    rule.limit = partOf(rule.limit, instances);
    rule.burst = partOf(rule.burst, instances);
  }
  return memory.admit(charges, count);
}

/** What one of so many instances may grant: together they grant no more than the limit, unless it is less than one each. */
function partOf(limit: number, instances: number): number {
  return limit > 0 ? Math.max(1, Math.floor(limit / instances)) : limit;
}

function refuseAll(charges: readonly Charge[], count: number): Admitted {
  let refused = false;
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    say(charge, false);
    if (!charge.policy.dryRun) refused = true;
  }
  return refused ? "store-error" : true;
}

function say({ verdict, rule, cost }: Charge, admitted: boolean): void {
  verdict.admitted = admitted;
  verdict.remaining = admitted ? Math.max(0, Math.floor(rule.burst - cost)) : 0;
  verdict.retryAfterUs = admitted ? 0 : RETRY_AFTER_US;
  verdict.resetUs = admitted ? rule.windowUs : RETRY_AFTER_US;
}

// The Redis stores of one proxy, and their connections.

/** What {@linkcode RedisStores} takes. */
export interface RedisStoresOptions {
  clock: Clock;
  /** Makes numbers from 1 to 2^33 - 1 that no other instance has, on whichever machine. */
  createId: () => number;
  /**
   * Called when a store can be used, or not any more.
   *
   * @param dropped how many corrections of counts were too many to keep until it could be used again
   */
  onAvailability: (address: string, available: boolean, reason: string | null, dropped: number) => void;
}

/** What a store is opened for. */
export interface StorePurpose {
  policies: readonly ResolvedPolicy[];
  options: ResolvedRedisStore;
  /** Counts while Redis does not reply. */
  memory: MemoryStore;
  /** Sets the counts apart from those of other limiters. */
  scope: string;
}

/** Opens stores; limiters with the same server share its connection, so that their commands go out together. */
export class RedisStores implements AsyncDisposable {
  readonly #options: RedisStoresOptions;
  readonly #connections: Map<string, StoreConnection> = new Map();

  constructor(options: RedisStoresOptions) {
    this.#options = options;
  }

  /** Opens a store, and a connection when there is none yet. */
  open(purpose: StorePurpose): RedisStore {
    const { clock } = this.#options;
    return new RedisStore({ ...purpose, clock, connection: this.#connection(purpose.options) });
  }

  /** Resolves when every server has been reached, or has not been at the first try. */
  async ready(): Promise<void> {
    await Promise.all(Array.from(this.#connections.values(), ({ link }) => link.tried));
  }

  #connection(options: ResolvedRedisStore): StoreConnection {
    const { urls, tls, timeoutMs, prefix } = options;
    // Keys of different prefixes may be on different servers of a cluster.
    const id = JSON.stringify([urls, tls, timeoutMs, prefix]);
    const known = this.#connections.get(id);
    if (known !== undefined) return known;
    const { clock, createId, onAvailability } = this.#options;
    const address = storeAddress(options);
    const connection = new StoreConnection({
      connect: (listener, { check }) =>
        new IoredisConnection({ urls, tls, checkKey: check, timeoutMs, listener }),
      clock,
      createId,
      prefix,
      timeoutMs,
      onAvailability: (...args) => onAvailability(address, ...args),
    });
    this.#connections.set(id, connection);
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const connections = [...this.#connections.values()];
    this.#connections.clear();
    await Promise.all(connections.map((each) => each[Symbol.asyncDispose]()));
  }
}
