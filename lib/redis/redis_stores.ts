/** The Redis stores of one proxy, and their connections. */

import type { Clock } from "../core/clock.ts";
import type { MemoryStore } from "../limiter/memory_store.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { type ResolvedRedisStore, storeAddress } from "../limiter/redis_store_options.ts";
import { IoredisConnection } from "./ioredis_connection.ts";
import { RedisLink } from "./redis_link.ts";
import { RedisStore } from "./redis_store.ts";
import { checkKeyOf } from "./storage_keys.ts";

/** What {@linkcode RedisStores} takes. */
export interface RedisStoresOptions {
  clock: Clock;
  /** Called when a store can be used, or not any more. */
  onAvailability: (address: string, available: boolean, reason: string | null) => void;
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
  readonly #links: Map<string, RedisLink> = new Map();

  constructor(options: RedisStoresOptions) {
    this.#options = options;
  }

  /** Opens a store, and a connection when there is none yet. */
  open(purpose: StorePurpose): RedisStore {
    const { clock } = this.#options;
    return new RedisStore({ ...purpose, clock, link: this.#link(purpose.options) });
  }

  /** Resolves when every server has been reached, or has not been at the first try. */
  async ready(): Promise<void> {
    await Promise.all(Array.from(this.#links.values(), (link) => link.tried));
  }

  #link(options: ResolvedRedisStore): RedisLink {
    const { urls, tls, timeoutMs, prefix } = options;
    // Keys of different prefixes may be on different servers of a cluster.
    const id = JSON.stringify([urls, tls, timeoutMs, prefix]);
    const known = this.#links.get(id);
    if (known !== undefined) return known;
    const { clock, onAvailability } = this.#options;
    const address = storeAddress(options);
    const checkKey = checkKeyOf(prefix);
    const connect = (listener: RedisLink) =>
      new IoredisConnection({ urls, tls, checkKey, timeoutMs, listener });
    const link = new RedisLink(connect, {
      clock,
      timeoutMs,
      onAvailability: (available, reason) => onAvailability(address, available, reason),
    });
    this.#links.set(id, link);
    return link;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const links = [...this.#links.values()];
    this.#links.clear();
    await Promise.all(links.map((link) => link[Symbol.asyncDispose]()));
  }
}
