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

/** Options of {@linkcode RedisStore}. */
interface RedisStoreParts {
  connection: StoreConnection;
  clock: Clock;
  /** Counts in the limiter's table while Redis does not reply. */
  memory: MemoryStore;
  policies: readonly ResolvedPolicy[];
  options: ResolvedRedisStore;
  /** Separates the counts from those of other limiters. */
  scope: string;
  /** Known refusals. @default {none} */
  refused?: RefusedKeys;
}

/** A counted key, with the place of its count. */
type PlacedKey = CountedKey & Pick<Charge, "place">;

/**
 * Decides in Redis: one command per request, for any number of policies, by a script that checks all and then charges
 * all, by the server's time.
 *
 * The script uses the same arithmetic as the algorithms here, so decisions equal those of the table in memory. One
 * difference: a permit of a concurrency policy lasts as long as its request, regardless of the window, but not longer
 * than this instance. A late reply does not change a decision, and what it counted stays counted; late permits are
 * released.
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
  readonly #needsPermits: boolean;

  constructor(parts: RedisStoreParts) {
    const { connection, clock, memory, policies, options, scope, refused = new RefusedKeys() } = parts;
    this.#refused = refused;
    this.#prefetched = new PrefetchedTokens(options.prefetch);
    this.#connection = connection;
    this.#needsPermits = policies.some(({ algorithm }) => algorithm === "concurrency");
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
    this.#withNames([{ policy, key }], ([name]) => {
      this.#refused.delete(name!);
      this.#connection.permits.forget(name!);
      this.#connection.backlog.forget(name!);
    });
  }

  #admit(charges: readonly Charge[], count: number, keys: readonly string[]): Admitted | Promise<Admitted> {
    const askedUs = Math.floor(this.#clock.now() * 1000);
    if (this.#prefetched.take(charges, count, keys, askedUs)) return true;
    if (this.#refused.find(charges, count, keys, askedUs)) return false;
    const session = this.#needsPermits && hasPermits(charges, count) ? this.#connection.permits.session() : 0;
    const called = session === 0
      ? this.#call(charges, count, keys)
      : this.#callForPermits(session, charges, count, keys);
    if (called === null) return this.#decideWithout(charges, count);
    return called.then((reply) => {
      return reply !== null && reply[1] === -1
        ? this.#admitAgain(session, charges, count, keys)
        : this.#applyReply(reply, charges, count, keys, askedUs);
    });
  }

  /** Repeats the call after the held permits, which Redis did not know, have been sent. */
  #admitAgain(
    ended: number,
    charges: readonly Charge[],
    count: number,
    keys: readonly string[],
  ): Admitted | Promise<Admitted> {
    const { permits } = this.#connection;
    permits.noteEnded(ended);
    const askedUs = Math.floor(this.#clock.now() * 1000);
    const called = this.#callForPermits(permits.session(), charges, count, keys);
    if (called === null) return this.#decideWithout(charges, count);
    return called.then((reply) => this.#applyReply(reply, charges, count, keys, askedUs));
  }

  #applyReply(
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

  #call(charges: readonly Charge[], count: number, keys: readonly string[]): PendingReply {
    const command = decideCommand(charges, count, keys, this.#prefetched.timesFor(charges, count));
    return this.#connection.link.run("decide", count, command);
  }

  #callForPermits(
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
      // The request no longer waits, so its permits would be lost.
      if (reply[1]! <= 0) return;
      const taken = asked.filter(({ at }) => reply[REPLY_HEAD + at * REPLY_SIZE] === 1);
      permits.refuse(taken, session);
    });
  }

  #decideWithout(charges: readonly Charge[], count: number): Admitted {
    return decideWithout(this.#options, this.#memory, charges, count);
  }

  #correct(counted: CountedKey, delta: number): void {
    this.#withNames([counted], ([name]) => {
      if (delta < 0) this.#refused.delete(name!);
      this.#connection.backlog.correct(counted, name!, delta);
    });
  }

  /** Synchronous if possible: a call made later in the same turn must see the change. */
  #withNames(
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

// Decisions while Redis does not reply.

/** Wait sent to a client that is refused because the store does not reply. */
const RETRY_AFTER_US = 1_000_000;

/** Decides as configured: admits, refuses, or counts in the table of this instance. */
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
      for (let i = 0; i < count; i++) setVerdict(charges[i]!, true);
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

/**
 * The limit of one of several instances: together they do not exceed the limit, unless it is less than 1 per instance.
 */
function partOf(limit: number, instances: number): number {
  return limit > 0 ? Math.max(1, Math.floor(limit / instances)) : limit;
}

function refuseAll(charges: readonly Charge[], count: number): Admitted {
  let refused = false;
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    setVerdict(charge, false);
    if (!charge.policy.dryRun) refused = true;
  }
  return refused ? "store-error" : true;
}

function setVerdict({ verdict, rule, cost }: Charge, admitted: boolean): void {
  verdict.admitted = admitted;
  verdict.remaining = admitted ? Math.max(0, Math.floor(rule.burst - cost)) : 0;
  verdict.retryAfterUs = admitted ? 0 : RETRY_AFTER_US;
  verdict.resetUs = admitted ? rule.windowUs : RETRY_AFTER_US;
}

// The Redis stores of one proxy, and their connections.

/** Options of {@linkcode RedisStores}. */
export interface RedisStoresOptions {
  clock: Clock;
  /** Returns numbers from 1 to 2^33 - 1 that are unique to this instance, on all machines. */
  createId: () => number;
  /**
   * Called when a store becomes available or unavailable.
   *
   * @param dropped number of corrections that were dropped meanwhile because there were too many
   */
  onAvailability: (address: string, available: boolean, reason: string | null, dropped: number) => void;
}

/** The policies and options of a store. */
export interface StorePurpose {
  policies: readonly ResolvedPolicy[];
  options: ResolvedRedisStore;
  /** Counts while Redis does not reply. */
  memory: MemoryStore;
  /** Separates the counts from those of other limiters. */
  scope: string;
}

/** Opens stores; limiters with the same server share its connection, so that their commands are sent together. */
export class RedisStores implements AsyncDisposable {
  readonly #options: RedisStoresOptions;
  readonly #connections: Map<string, StoreConnection> = new Map();

  constructor(options: RedisStoresOptions) {
    this.#options = options;
  }

  /** Opens a store, and a connection if there is none yet. */
  open(purpose: StorePurpose): RedisStore {
    const { clock } = this.#options;
    return new RedisStore({ ...purpose, clock, connection: this.#connection(purpose.options) });
  }

  /** Resolves when the first attempt to reach each server has succeeded or failed. */
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
