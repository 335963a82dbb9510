/** The rate limiters of one proxy, and the stores that they share with other machines. */

import type { Clock } from "../core/clock.ts";
import type { Lease } from "../core/cancellation.ts";
import type { Charge, CountedKey } from "../limiter/charge.ts";
import { BusyKeys, type NamedKey } from "../limiter/busy_keys.ts";
import { LimitHeaders, RefusalBodies } from "../limiter/limit_headers.ts";
import { RateLimiter } from "../limiter/limiter.ts";
import {
  type Admitted,
  type LimiterStore,
  MemoryStore,
  type RateLimiterOptions,
} from "../limiter/memory_store.ts";
import type { PermitLedger } from "../limiter/permits.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { type MemoryUse, SharedTable } from "../limiter/shared_table.ts";
import { MAX_KEYS } from "../limiter/table_layout.ts";
import type { StoreMeter } from "../observe/metrics/meters.ts";
import type { Observer } from "../observe/observer.ts";
import type { Admission } from "../proxy/proxy_runtime.ts";
import type { RedisStores, StorePurpose } from "../redis/redis_store.ts";
import type { ProxyParts } from "./serve_options.ts";

/**
 * Makes limiters that share one table.
 *
 * The limiter of a route with policies contains the proxy's policies too. So all policies are checked before any is
 * charged, and the proxy's policies count the requests of all routes together.
 */
export class Admissions implements Disposable {
  /** Per policy, the number of windows in which keys did not fit the table. */
  readonly overflows: Map<string, number>;
  readonly #parts: ProxyParts;
  readonly #stores: LimiterStores;
  /** The limiters, the proxy's first. */
  readonly limiters: RateLimiter[] = [];
  readonly #table: SharedTable | null;
  /** The former table, until its counts have been taken over. */
  #expected: SharedTable | null = null;
  /** Whether this process moves counts between tables; for workers the supervisor does. */
  readonly #moves: boolean;
  /** `null` if key names are not remembered. */
  readonly #busyKeys: BusyKeys | null;
  /** The policies that have counted in the table, including those that a reload removed. */
  readonly #counted: Set<string>;
  readonly #stack = new DisposableStack();

  /**
   * @param policies all policies of the proxy and its routes; they determine the size of the table
   * @param named whether to remember the names of the keys that use most of their limits
   * @param before the former limits: their table is reused if it is large enough, otherwise its counts are taken over
   */
  constructor(
    policies: readonly ResolvedPolicy[],
    parts: ProxyParts,
    stores: LimiterStores,
    named = false,
    before: Admissions | null = null,
  ) {
    const busyKeys = before === null ? null : before.#busyKeys;
    this.#busyKeys = named ? busyKeys ?? new BusyKeys() : null;
    const { clock, random } = parts;
    this.#parts = parts;
    this.#stores = stores;
    this.overflows = new Map(policies.map(({ name }) => [name, 0]));
    const maxKeys = Math.min(MAX_KEYS, policies.reduce((sum, policy) => sum + policy.maxKeys, 0));
    const like = before === null ? null : before.#table;
    this.#counted = new Set(policies.map(countingName));
    if (policies.length === 0) {
      this.#moves = true;
      this.#table = null;
      return;
    }
    const { shared = null } = parts;
    this.#moves = shared === null || shared.role === "supervisor";
    if (shared !== null && shared.role === "worker") {
      const memory = shared.table()!;
      this.#table = like !== null && like.buffer === memory ? like : SharedTable.attach(memory, { clock });
      this.#stack.use(shared.keepTable(memory));
      // After a reload, the ledger moves from the former table, with the permits in it.
      if (like === null) this.#table.permits.keep(shared.ledger);
      // The supervisor moves the counts before it sends "commit" to this worker.
      if (like !== null && like !== this.#table) {
        like.follow(this.#table);
        this.#expected = like;
      }
      return;
    }
    const all = before === null ? this.#counted : this.#counted.union(before.#counted);
    const spare = like === null ? -1 : like.maxKeys - maxKeys;
    if (like !== null && spare >= 0 && spare <= maxKeys * MAX_SPARE_FACTOR && all.size <= like.sketches) {
      this.#table = like;
      this.#counted = all;
    } else {
      this.#table = SharedTable.create({
        clock,
        random,
        maxKeys,
        sketches: policies.length,
        ...(like === null ? {} : { like }),
        ...(shared === null ? {} : { allocate: (byteLength) => shared.createTable(byteLength) }),
      });
    }
    if (shared !== null) this.#stack.use(shared.keepTable(this.#table.buffer));
  }

  /** Takes over the counts of the former limits; what their requests settle later is counted here too. */
  takeOver(before: Admissions): void {
    for (const [name, count] of before.overflows) {
      if (this.overflows.has(name)) this.overflows.set(name, count);
    }
    if (this.#table === null || before.#table === null || this.#table === before.#table) return;
    this.#table.takeOver(before.#table, this.#moves);
    this.#expected = null;
  }

  /** Releases the permits of a worker that has ended. */
  giveBackPermits(ledger: PermitLedger): void {
    this.#table?.permits.giveBackAll(ledger);
  }

  get #policies(): readonly ResolvedPolicy[] {
    return this.limiters.flatMap(({ policies }) => policies);
  }

  /** The names of the keys that have used most of their limits, to be sent to another process. */
  namedKeys(most: number): readonly NamedKey[] {
    return this.#busyKeys === null ? [] : this.#busyKeys.named(this.#policies, most);
  }

  /** Adds key names that another process has sent. */
  adoptKeys(keys: readonly NamedKey[]): void {
    this.#busyKeys?.adopt(keys, this.#policies);
  }

  /** The memory of the table; `null` when nothing is limited. */
  get buffer(): ArrayBufferLike | null {
    return this.#table === null ? null : this.#table.buffer;
  }

  /** How full the table is; `null` when nothing is limited. */
  get table(): MemoryUse | null {
    return this.#table === null ? null : this.#table.use;
  }

  /** Makes the limiter of these policies; `null` when there are none. */
  create(policies: readonly ResolvedPolicy[]): Admission | null {
    if (policies.length === 0) return null;
    const { clock, random, observer } = this.#parts;
    const table = this.#table!;
    const limiter = new RateLimiter(policies, {
      clock,
      random,
      table,
      ...this.#storeOf(policies, table),
      ...(this.#busyKeys === null ? {} : { busyKeys: this.#busyKeys }),
      onOverflow: ({ name }) => {
        this.overflows.set(name, (this.overflows.get(name) ?? 0) + 1);
        observer.event({ kind: "limiter_overflow", policy: name, capacity: table.maxKeys });
      },
    });
    this.#stack.use(limiter);
    this.limiters.push(limiter);
    return { limiter, headers: new LimitHeaders(policies), bodies: new RefusalBodies() };
  }

  /** The store that policies share with other machines. While it does not respond, the table counts. */
  #storeOf(policies: readonly ResolvedPolicy[], table: SharedTable): Pick<RateLimiterOptions, "store"> {
    const options = policies[0]!.store;
    if (options === null) return {};
    return { store: this.#stores.open({ policies, options, memory: new MemoryStore(table), scope: "" }) };
  }

  /** Disposes all limiters. */
  [Symbol.dispose](): void {
    this.#expected?.follow(null);
    this.#stack.dispose();
  }
}

/** A table is replaced by a smaller one if its unused room exceeds the wanted number of keys times this factor. */
const MAX_SPARE_FACTOR = 3;

/** Distinguishes the counts of a policy from those of other policies. */
function countingName({ scope, name, algorithm }: ResolvedPolicy): string {
  return `${scope}\n${name}\n${algorithm}`;
}

/** The stores that limits share with other machines. The Redis client is loaded only if there are any. */
export class LimiterStores implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #observer: Observer;
  readonly #meter: StoreMeter | null;
  readonly #opened: LateStore[] = [];
  #redis: RedisStores | null = null;
  #disposed = false;

  /** @param meter counts decisions; `null` if metrics are off */
  constructor(
    { clock, observer }: Pick<ProxyParts, "clock" | "observer">,
    meter: StoreMeter | null = null,
  ) {
    this.#meter = meter;
    this.#clock = clock;
    this.#observer = observer;
  }

  /** Opens a store; it can decide once {@linkcode load} has resolved. */
  open(purpose: StorePurpose): LimiterStore {
    const store = new LateStore(purpose, this.#clock, this.#meter);
    this.#opened.push(store);
    return store;
  }

  /**
   * Loads the Redis client and begins to connect.
   *
   * @throws {Deno.errors.NotCapable} when the client may not read environment variables
   */
  async load(): Promise<void> {
    if (this.#opened.length === 0) return;
    const { RedisStores } = await loadRedis();
    if (this.#disposed) return;
    const redis = this.#redis = new RedisStores({
      clock: this.#clock,
      createId,
      onAvailability: (address, available, reason, dropped) =>
        this.#observer.event({ kind: "limiter_store", address, available, reason, dropped }),
    });
    for (const store of this.#opened) store.begin(redis.open(store.purpose));
  }

  /** Resolves when the first attempt to connect to every Redis server has succeeded or failed. */
  async ready(): Promise<void> {
    await this.#redis?.ready();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    await this.#redis?.[Symbol.asyncDispose]();
  }
}

/** Takes the place of a store until the Redis client is loaded; no request is decided before that. */
class LateStore implements LimiterStore {
  readonly answersLater = true;
  readonly purpose: StorePurpose;
  readonly #resets: [policy: ResolvedPolicy, key: string][] = [];
  readonly #clock: Clock;
  readonly #meter: StoreMeter | null;
  #store: LimiterStore | null = null;

  constructor(purpose: StorePurpose, clock: Clock, meter: StoreMeter | null) {
    this.purpose = purpose;
    this.#clock = clock;
    this.#meter = meter;
  }

  /** From now on, calls go to this store. */
  begin(store: LimiterStore): void {
    this.#store = store;
    for (const [policy, key] of this.#resets.splice(0)) store.reset?.(policy, key);
  }

  admit(charges: readonly Charge[], count: number, clockMs?: number): Admitted | Promise<Admitted> {
    const meter = this.#meter;
    if (meter === null) return this.#store!.admit(charges, count, clockMs);
    const first = charges[0]!;
    first.place = "store";
    const since = this.#clock.now();
    const admitted = this.#store!.admit(charges, count, clockMs);
    const decided = (): void => meter.decided(this.#clock.now() - since, first.place !== "store");
    if (admitted instanceof Promise) return admitted.finally(decided);
    // A decision from prefetched permits, or by a known refusal, was made without a request to the store.
    if (first.place !== "store") decided();
    return admitted;
  }

  hold(charges: readonly Charge[], count: number): Lease | null {
    return this.#store!.hold(charges, count);
  }

  counted(charge: Charge): CountedKey {
    return this.#store!.counted(charge);
  }

  correct(counted: CountedKey, delta: number): void {
    this.#store!.correct(counted, delta);
  }

  reset(policy: ResolvedPolicy, key: string): void {
    if (this.#store === null) this.#resets.push([policy, key]);
    else this.#store.reset?.(policy, key);
  }
}

/** Makes a random id. Ignores the program's `Random`: with the same seed, two instances would share an id. */
function createId(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2)) as unknown as [number, number];
  return Math.max(1, (high & 1) * 2 ** 32 + low);
}

async function loadRedis(): Promise<typeof import("../redis/redis_store.ts")> {
  try {
    return await import("../redis/redis_store.ts");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw new Deno.errors.NotCapable(
      "Cannot load the client of Redis, which limiter.store needs: it reads environment variables. Run with " +
        "--allow-env, or with --ignore-env, which shows it none",
      { cause: error },
    );
  }
}
