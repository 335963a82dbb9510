/** A connection to a store, with what has to reach it though no request waits for it. */

import type { Clock } from "../core/clock.ts";
import { Backlog } from "./backlog.ts";
import { Permits } from "./permits.ts";
import { type RedisConnection, RedisLink } from "./redis_link.ts";
import { type OwnKeys, ownKeysOf } from "./storage_keys.ts";

/** What a {@linkcode StoreConnection} takes. */
interface StoreConnectionOptions {
  /** Makes the connection, which tells the link how it fares. */
  connect: (link: RedisLink, keys: OwnKeys) => RedisConnection;
  clock: Clock;
  /** Makes numbers from 1 to 2^33 - 1 that no other instance has. */
  createId: () => number;
  /** What all keys begin with. */
  prefix: string;
  /** How long a request may wait for an answer. */
  timeoutMs: number;
  /** Called when the store can be used again, or not any more; `dropped` tells how many corrections were too many to keep. */
  onAvailability: (available: boolean, reason: string | null, dropped: number) => void;
}

/** What all limiters with the same store share. */
export class StoreConnection implements AsyncDisposable {
  readonly link: RedisLink;
  readonly permits: Permits;
  readonly backlog: Backlog;

  constructor(options: StoreConnectionOptions) {
    const { connect, clock, createId, prefix, timeoutMs, onAvailability } = options;
    const keys = ownKeysOf(prefix, createId());
    this.link = new RedisLink((link) => connect(link, keys), {
      clock,
      timeoutMs,
      onAvailability: (available, reason) =>
        onAvailability(available, reason, available ? this.backlog.takeDropped() : 0),
    });
    this.permits = new Permits({ link: this.link, timers: clock, createId, instancesKey: keys.instances });
    this.backlog = new Backlog({ link: this.link, clock, latestKey: keys.latest });
  }

  /** What was held and corrected last is sent before the connection ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.permits[Symbol.dispose]();
    this.backlog[Symbol.dispose]();
    await this.link[Symbol.asyncDispose]();
  }
}
