/** The Redis stores of one proxy, and their connections. */

import type { Clock } from "../core/clock.ts";
import type { MemoryStore } from "../limiter/memory_store.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { type ResolvedRedisStore, storeAddress } from "../limiter/redis_store_options.ts";
import { IoredisConnection } from "./ioredis_connection.ts";
import { RedisStore } from "./redis_store.ts";
import { StoreConnection } from "./store_connection.ts";

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
  /** Counts by itself while Redis does not answer. */
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
