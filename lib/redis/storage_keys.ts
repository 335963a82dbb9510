/** What keys are called in Redis. */

import type { Rule } from "../limiter/algorithm.ts";
import type { Charge, CountedKey } from "../limiter/charge.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";

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
export interface OwnKeys {
  /** Where it is tried out whether Redis counts. */
  readonly check: string;
  /** Which instances are alive. */
  readonly instances: string;
  /** Which correction of an instance was the latest. */
  readonly latest: string;
}

/** The keys of an instance. */
export function ownKeysOf(prefix: string, id: number): OwnKeys {
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
export function correctCommand(counted: CountedKey, delta: number): string[] {
  const { policy, limit, windowUs, burst, expiresAt, countedAt } = counted;
  return [policy.algorithm[0]!, ...[limit, windowUs, burst, delta, expiresAt, countedAt].map(String)];
}

/** Arguments of the script that forgets a key, behind its number. */
export function forgetCommand(): string[] {
  return ["x", "0", "0", "0", "0", "0", "0"];
}
