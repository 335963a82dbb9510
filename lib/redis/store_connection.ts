/** A connection to a store, the backlog of writes that it has to deliver later, and the names of keys there. */

import type { Clock } from "../core/clock.ts";
import type { Rule } from "../limiter/algorithm.ts";
import type { Charge, CountedKey } from "../limiter/charge.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { Permits } from "./permits.ts";
import { type RedisConnection, RedisLink } from "./redis_link.ts";

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

// What keys are called in Redis.

/** Characters of a client's key that are stored as they are; clients choose them, and memory is not theirs to spend. */
const MAX_PLAIN_LENGTH = 120;

/** Something that is counted by a key. */
interface Keyed {
  readonly policy: ResolvedPolicy;
  readonly key: string;
}

/**
 * The names of a limiter's keys: `{prefix}:scope:policy:algorithm:key`.
 *
 * All of them have one hash tag, so that a cluster keeps them in one place and a script may see them together. A long
 * key is stored as its SHA-256.
 */
export class StorageKeys {
  readonly #starts: ReadonlyMap<ResolvedPolicy, string>;

  constructor(prefix: string, scope: string, policies: readonly ResolvedPolicy[]) {
    const tag = `{${prefix}}:${encodeURIComponent(scope)}`;
    this.#starts = new Map(policies.map((policy) => {
      const { name, algorithm, windowMs } = policy;
      // As in the limiter's own table: a state that makes no sense with another window is kept apart by its window.
      const kind = algorithm === "token-bucket" ? `t${windowMs}` : algorithm[0];
      return [policy, `${tag}:${encodeURIComponent(name)}:${kind}:`];
    }));
  }

  /** The names for the first `count` of these; a promise only when a key is long. */
  of(items: readonly Keyed[], count: number): string[] | Promise<string[]> {
    const names: string[] = [];
    for (let i = 0; i < count; i++) {
      const { policy, key } = items[i]!;
      if (key.length > MAX_PLAIN_LENGTH) {
        return Promise.all(items.slice(0, count).map(({ policy, key }) => this.#one(policy, key)));
      }
      names.push(this.#starts.get(policy)! + key);
    }
    return names;
  }

  #one(policy: ResolvedPolicy, key: string): string | Promise<string> {
    const start = this.#starts.get(policy)!;
    return key.length <= MAX_PLAIN_LENGTH ? start + key : shortened(key).then((short) => start + short);
  }
}

/** Keys that no policy uses, in the same place of a cluster as all that begin with the prefix. */
interface OwnKeys {
  /** Where it is tried out whether Redis counts. */
  readonly check: string;
  /** Which instances are alive. */
  readonly instances: string;
  /** Which correction of an instance was the latest. */
  readonly latest: string;
}

/** The keys of an instance. */
function ownKeysOf(prefix: string, id: number): OwnKeys {
  return {
    check: `{${prefix}}:check`,
    instances: `{${prefix}}:instances`,
    latest: `{${prefix}}:latest:${id}`,
  };
}

/** Longer than a plain key may be, so that none can look like it. */
async function shortened(key: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key));
  return `sha256-of-${key.length}:${new Uint8Array(digest).toHex()}`.padEnd(MAX_PLAIN_LENGTH + 1, ".");
}

// What the scripts are given; their texts say what each expects.

/**
 * Keys and arguments of the script that decides.
 *
 * @param keys of the charges, and of the instances when one of them is about permits
 * @param session of the instance; 0 when none of them is
 */
export function decideCommand(
  charges: readonly Charge[],
  count: number,
  keys: readonly string[],
  times = 1,
  session = 0,
): string[] {
  const command = [...keys, String(times), String(session)];
  for (let i = 0; i < count; i++) {
    const { policy, rule, cost } = charges[i]!;
    command.push(
      policy.algorithm[0]!,
      String(rule.limit),
      String(rule.windowUs),
      String(rule.burst),
      String(cost),
      flagsOf(policy, rule),
    );
  }
  return command;
}

/** One text for each number, so that none has to be made for a request. */
const FLAGS = ["0", "1", "2", "3", "4", "5", "6", "7"] as const;

function flagsOf({ penalize, dryRun }: ResolvedPolicy, { bounded }: Rule): string {
  return FLAGS[(penalize ? 1 : 0) | (dryRun ? 2 : 0) | (bounded ? 4 : 0)]!;
}

/** Arguments of the script that counts more, or takes something back, behind its number. */
function correctCommand(counted: CountedKey, delta: number): string[] {
  const { policy, limit, windowUs, burst, expiresAt, countedAt } = counted;
  return [policy.algorithm[0]!, ...[limit, windowUs, burst, delta, expiresAt, countedAt].map(String)];
}

/** Arguments of the script that forgets a key, behind its number. */
function forgetCommand(): string[] {
  return ["x", "0", "0", "0", "0", "0", "0"];
}
