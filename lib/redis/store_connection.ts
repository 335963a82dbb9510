/** A connection to a store, and the backlog of writes that it has to deliver later. */

import type { Clock } from "../core/clock.ts";
import type { CountedKey } from "../limiter/charge.ts";
import { Permits } from "./permits.ts";
import { type RedisConnection, RedisLink } from "./redis_link.ts";
import { correctCommand, forgetCommand, type OwnKeys, ownKeysOf } from "./storage_keys.ts";

/** What a {@linkcode StoreConnection} takes. */
interface StoreConnectionOptions {
  /** Makes the connection, which tells the link how it fares. */
  connect: (link: RedisLink, keys: OwnKeys) => RedisConnection;
  clock: Clock;
  /** Makes numbers from 1 to 2^33 - 1 that no other instance has. */
  createId: () => number;
  /** What all keys begin with. */
  prefix: string;
  /** How long a request may wait for a reply. */
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

// What has to reach Redis though nobody waits for it: corrections of counts, and keys to forget.

/** How many are kept at most; the oldest go first. */
const CAPACITY = 10_000;
/** For how long one is kept at most; Redis remembers for an hour more which of them it has made. */
const MAX_AGE_MS = 86_400_000;
/** When those are sent again that Redis has refused. */
const RETRY_MS = 1000;

/** What a {@linkcode Backlog} takes. */
interface BacklogOptions {
  link: RedisLink;
  clock: Clock;
  /** Where Redis keeps the number of the latest of this instance that it has made. */
  latestKey: string;
}

interface Entry {
  readonly key: string;
  /** The arguments of the script but for its number. */
  readonly args: readonly string[];
  /** When it would change nothing any more, by the clock. */
  readonly endsAt: number;
  /** 0 when it was not sent, or was refused: Redis has surely not made it. */
  number: number;
  /** Whether it is under way. */
  sent: boolean;
  /** Whether a reply was lost: it may have been made. */
  uncertain: boolean;
}

/**
 * Sends each at once when that is possible, and keeps it until Redis says that it is made.
 *
 * All have numbers, ascending in the order in which they are sent; Redis leaves out what is not above the latest. So one
 * whose reply was lost can be sent again.
 */
class Backlog implements Disposable {
  readonly #options: BacklogOptions;
  /** In the order in which they came. */
  readonly #entries: Set<Entry> = new Set();
  #latest = 0;
  #dropped = 0;
  #timer: Disposable | null = null;
  #disposed = false;

  constructor(options: BacklogOptions) {
    this.#options = options;
    options.link.onUsable(() => this.#sendAll());
  }

  /** Counts more for a key, or takes something back. */
  correct(counted: CountedKey, key: string, delta: number): void {
    this.#add(key, correctCommand(counted, delta), effectMs(counted, delta));
  }

  /** Forgets a key. */
  forget(key: string): void {
    this.#add(key, forgetCommand(), MAX_AGE_MS);
  }

  /** How many went since this was last asked because there were too many. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#entries.clear();
  }

  #add(key: string, args: readonly string[], keptMs: number): void {
    if (this.#disposed) return;
    const endsAt = this.#options.clock.now() + Math.min(keptMs, MAX_AGE_MS);
    const entry: Entry = { key, args, endsAt, number: 0, sent: false, uncertain: false };
    this.#entries.add(entry);
    if (this.#entries.size > CAPACITY) {
      const oldest = this.#entries.values().next().value!;
      this.#entries.delete(oldest);
      if (!oldest.sent) this.#dropped++;
    }
    this.#send(entry);
  }

  /** First those that may have been made: after one with a higher number they would be left out. */
  #sendAll(): void {
    const now = this.#options.clock.now();
    for (const entry of this.#entries) if (entry.endsAt <= now) this.#entries.delete(entry);
    const waiting = Array.from(this.#entries).filter(({ sent }) => !sent);
    const numbered = waiting.filter(({ number }) => number > 0).sort((one, two) => one.number - two.number);
    for (const entry of numbered) this.#send(entry);
    for (const entry of waiting) if (entry.number === 0) this.#send(entry);
  }

  #send(entry: Entry): void {
    const { link, latestKey } = this.#options;
    const number = entry.number === 0 ? this.#latest + 1 : entry.number;
    const sent = link.send(
      "correct",
      2,
      [entry.key, latestKey, String(number), ...entry.args],
      ([made]) => this.#replied(entry, made === 1),
      (error) => this.#failed(entry, error),
    );
    if (!sent) return;
    this.#latest = Math.max(this.#latest, number);
    entry.number = number;
    entry.sent = true;
  }

  #replied(entry: Entry, made: boolean): void {
    entry.sent = false;
    // Overtaken by one with a higher number, as can be when Redis had to be sent the script again.
    if (!made && !entry.uncertain) this.#sendAnew(entry);
    else this.#entries.delete(entry);
  }

  #failed(entry: Entry, error: unknown): void {
    entry.sent = false;
    if (error instanceof Error && error.name === "ReplyError") {
      entry.number = 0;
      entry.uncertain = false;
      this.#retryLater();
    } else {
      // The connection is lost, and is followed by another one.
      entry.uncertain = true;
    }
  }

  #sendAnew(entry: Entry): void {
    entry.number = 0;
    if (this.#entries.has(entry)) this.#send(entry);
  }

  #retryLater(): void {
    if (this.#timer !== null || this.#disposed) return;
    this.#timer = this.#options.clock.setTimer(() => {
      this.#timer = null;
      this.#sendAll();
    }, RETRY_MS);
  }
}

/** For how long a correction can change what requests are told. */
function effectMs({ policy: { algorithm, windowMs }, limit }: CountedKey, delta: number): number {
  switch (algorithm) {
    case "fixed-window":
      return windowMs;
    case "token-bucket":
      return limit === 0 ? Infinity : Math.abs(delta) * windowMs / limit;
    default:
      return 2 * windowMs;
  }
}
