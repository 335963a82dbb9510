/** A connection to a store, its backlog of unconfirmed writes, and the names of keys. */

import type { Clock } from "../core/clock.ts";
import type { Rule } from "../limiter/algorithm.ts";
import type { Charge, CountedKey } from "../limiter/charge.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { Permits } from "./permits.ts";
import { type RedisConnection, RedisLink } from "./redis_link.ts";

/** Options of {@linkcode StoreConnection}. */
interface StoreConnectionOptions {
  /** Makes the connection, which reports its state to the link. */
  connect: (link: RedisLink, keys: ReservedKeys) => RedisConnection;
  clock: Clock;
  /** Returns numbers from 1 to 2^33 - 1 that are unique to this instance. */
  createId: () => number;
  /** Prefix of all keys. */
  prefix: string;
  /** How long a request may wait for a reply, in milliseconds. */
  timeoutMs: number;
  /**
   * Called when the store becomes available or unavailable; `dropped` is the number of corrections dropped because
   * there were too many.
   */
  onAvailability: (available: boolean, reason: string | null, dropped: number) => void;
}

/** The connection, permits and backlog shared by all limiters of a store. */
export class StoreConnection implements AsyncDisposable {
  readonly link: RedisLink;
  readonly permits: Permits;
  readonly backlog: Backlog;

  constructor(options: StoreConnectionOptions) {
    const { connect, clock, createId, prefix, timeoutMs, onAvailability } = options;
    const keys = reservedKeysOf(prefix, createId());
    this.link = new RedisLink((link) => connect(link, keys), {
      clock,
      timeoutMs,
      onAvailability: (available, reason) =>
        onAvailability(available, reason, available ? this.backlog.takeDropped() : 0),
    });
    this.permits = new Permits({ link: this.link, timers: clock, createId, instancesKey: keys.instances });
    this.backlog = new Backlog({ link: this.link, clock, latestKey: keys.latest });
  }

  /** Sends the last changes of permits before the connection ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.permits[Symbol.dispose]();
    this.backlog[Symbol.dispose]();
    await this.link[Symbol.asyncDispose]();
  }
}

// Writes that must reach Redis although no request waits for them: corrections of counts, and deletions of keys.

/** Maximum number of entries; the oldest is dropped first. */
const CAPACITY = 10_000;
/** Maximum age of an entry; Redis stores the number of the last correction for an hour longer. */
const MAX_AGE_MS = 86_400_000;
/** Delay before entries that Redis has refused are sent again, in milliseconds. */
const RETRY_MS = 1000;

/** Options of {@linkcode Backlog}. */
interface BacklogOptions {
  link: RedisLink;
  clock: Clock;
  /** The Redis key with the number of this instance's last correction. */
  latestKey: string;
}

interface Entry {
  readonly key: string;
  /** The arguments of the script without the number. */
  readonly args: readonly string[];
  /** Time after which the correction would have no effect. */
  readonly endsAt: number;
  /** 0 if it was not sent, or was refused: Redis has not applied it. */
  number: number;
  /** Whether it was sent and has no reply yet. */
  sent: boolean;
  /** Whether a reply was lost: Redis may have applied it. */
  uncertain: boolean;
}

/**
 * Sends each entry at once if possible, and keeps it until Redis confirms it.
 *
 * Entries are numbered in ascending order when they are sent; Redis ignores numbers that are not above the last one. So
 * an entry whose reply was lost can be sent again.
 */
class Backlog implements Disposable {
  readonly #options: BacklogOptions;
  /** In order of arrival. */
  readonly #entries: Set<Entry> = new Set();
  #latest = 0;
  #dropped = 0;
  #timer: Disposable | null = null;
  #disposed = false;

  constructor(options: BacklogOptions) {
    this.#options = options;
    options.link.onUsable(() => this.#sendAll());
  }

  /** Adds to the count of a key, or takes back a part. */
  correct(counted: CountedKey, key: string, delta: number): void {
    this.#add(key, correctCommand(counted, delta), effectMs(counted, delta));
  }

  /** Deletes a key. */
  forget(key: string): void {
    this.#add(key, forgetCommand(), MAX_AGE_MS);
  }

  /** Returns the number of entries dropped since the last call because there were too many. */
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

  /** Entries that may have been applied come first: after a higher number Redis would ignore them. */
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
    // Overtaken by an entry with a higher number, for example when the script had to be sent to Redis again.
    if (!made && !entry.uncertain) this.#sendAgain(entry);
    else this.#entries.delete(entry);
  }

  #failed(entry: Entry, error: unknown): void {
    entry.sent = false;
    if (error instanceof Error && error.name === "ReplyError") {
      entry.number = 0;
      entry.uncertain = false;
      this.#retryLater();
    } else {
      // The connection is lost, and another one will replace it.
      entry.uncertain = true;
    }
  }

  #sendAgain(entry: Entry): void {
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

/** How long a correction can affect decisions, in milliseconds. */
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

// Names of keys in Redis.

/** Maximum length of a client's key that is stored unchanged: clients choose keys, and must not fill the memory. */
const MAX_PLAIN_LENGTH = 120;

/** A counted key and its policy. */
interface Keyed {
  readonly policy: ResolvedPolicy;
  readonly key: string;
}

/**
 * The names of a limiter's keys: `{prefix}:scope:policy:algorithm:key`.
 *
 * All of them have one hash tag, so that a cluster keeps them on one server and a script may use them together. A long
 * key is stored as its SHA-256.
 */
export class StorageKeys {
  readonly #prefixes: ReadonlyMap<ResolvedPolicy, string>;

  constructor(prefix: string, scope: string, policies: readonly ResolvedPolicy[]) {
    const tag = `{${prefix}}:${encodeURIComponent(scope)}`;
    this.#prefixes = new Map(policies.map((policy) => {
      const { name, algorithm, windowMs } = policy;
      // As in the limiter's table: a state that is invalid for another window is separated by its window.
      const kind = algorithm === "token-bucket" ? `t${windowMs}` : algorithm[0];
      return [policy, `${tag}:${encodeURIComponent(name)}:${kind}:`];
    }));
  }

  /** The names for the first `count` items; a promise only if a key is long. */
  of(items: readonly Keyed[], count: number): string[] | Promise<string[]> {
    const names: string[] = [];
    for (let i = 0; i < count; i++) {
      const { policy, key } = items[i]!;
      if (key.length > MAX_PLAIN_LENGTH) {
        return Promise.all(items.slice(0, count).map(({ policy, key }) => this.#nameOf(policy, key)));
      }
      names.push(this.#prefixes.get(policy)! + key);
    }
    return names;
  }

  #nameOf(policy: ResolvedPolicy, key: string): string | Promise<string> {
    const start = this.#prefixes.get(policy)!;
    return key.length <= MAX_PLAIN_LENGTH ? start + key : shortened(key).then((short) => start + short);
  }
}

/** Keys that no policy uses, in the same cluster slot as all keys with the prefix. */
interface ReservedKeys {
  /** Key for the check whether Redis can count. */
  readonly check: string;
  /** The instances that are alive. */
  readonly instances: string;
  /** Number of the last correction of the instance. */
  readonly latest: string;
}

/** The keys of an instance. */
function reservedKeysOf(prefix: string, id: number): ReservedKeys {
  return {
    check: `{${prefix}}:check`,
    instances: `{${prefix}}:instances`,
    latest: `{${prefix}}:latest:${id}`,
  };
}

/** Longer than a plain key may be, so that no plain key can be equal. */
async function shortened(key: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key));
  return `sha256-of-${key.length}:${new Uint8Array(digest).toHex()}`.padEnd(MAX_PLAIN_LENGTH + 1, ".");
}

// Arguments of the scripts; the scripts document them.

/**
 * Keys and arguments of the decision script.
 *
 * @param keys keys of the charges, and of the instances if a charge has permits
 * @param session session of the instance; 0 without permits
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

/** Constant texts, so that none is allocated per request. */
const FLAGS = ["0", "1", "2", "3", "4", "5", "6", "7"] as const;

function flagsOf({ penalize, dryRun }: ResolvedPolicy, { bounded }: Rule): string {
  return FLAGS[(penalize ? 1 : 0) | (dryRun ? 2 : 0) | (bounded ? 4 : 0)]!;
}

/** Arguments of the correction script after the number. */
function correctCommand(counted: CountedKey, delta: number): string[] {
  const { policy, limit, windowUs, burst, expiresAt, countedAt } = counted;
  return [policy.algorithm[0]!, ...[limit, windowUs, burst, delta, expiresAt, countedAt].map(String)];
}

/** Arguments of the correction script to delete a key, after the number. */
function forgetCommand(): string[] {
  return ["x", "0", "0", "0", "0", "0", "0"];
}
