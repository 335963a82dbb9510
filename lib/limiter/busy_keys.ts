/** The names of keys that use much of their limits, for people: the table knows keys by their fingerprints alone. */

import { type Charge, limitOf } from "./charge.ts";
import type { ResolvedPolicy } from "./policy.ts";

/** Sets of four keys each; a key belongs to one of them. */
const SETS = 256;
const WAYS = 4;
/** What has used less than this part of its limit is not remembered. */
const LEAST_PART = 0.1;
/** Longer keys are remembered by their beginning. */
const MAX_CHARS = 512;

/** A key that is remembered, with what was left of its limit when it asked last. */
export interface BusyKey {
  readonly policy: ResolvedPolicy;
  /** The key, or its first 512 characters. */
  readonly key: string;
  /** Its fingerprint in the table. */
  readonly low: number;
  readonly high: number;
  /** Its limit; the capacity, for a token bucket. */
  readonly limit: number;
  /** Whether its last request was refused. */
  readonly refused: boolean;
  /** Which part of its limit it had used then, from 0 to 1. */
  readonly part: number;
}

/** A key as another process is told of it. */
export interface NamedKey extends Omit<BusyKey, "policy"> {
  /** Name of the policy. */
  readonly policy: string;
  /** The route that it is for. */
  readonly scope: string;
}

/**
 * Remembers up to 1,024 keys by name.
 *
 * Of keys that meet in a set the one that had used least goes. A key that is known costs a comparison a request; nothing is
 * paid by a limiter that has none of these.
 */
export class BusyKeys {
  readonly #slots: (BusyKey | null)[] = new Array(SETS * WAYS).fill(null);

  /** Takes in what was decided. */
  note(charges: readonly Charge[], count: number): void {
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      const { verdict: { admitted, remaining } } = charge;
      const limit = limitOf(charge);
      if (!admitted || remaining <= limit * (1 - LEAST_PART)) this.#remember(charge, limit);
    }
  }

  /** Everything that is remembered. */
  list(): BusyKey[] {
    return this.#slots.filter((slot) => slot !== null);
  }

  /** Those of these policies that have used most, for another process; former policies had other limits. */
  named(policies: readonly ResolvedPolicy[], most: number): NamedKey[] {
    return this.list().filter(({ policy }) => policies.includes(policy)).sort((one, other) =>
      other.part - one.part
    ).slice(0, most).map((
      { policy, ...key },
    ) => ({
      ...key,
      policy: policy.name,
      scope: policy.scope,
    }));
  }

  /** Takes in keys of another process, as far as their policies are known. */
  adopt(keys: readonly NamedKey[], policies: readonly ResolvedPolicy[]): void {
    for (const { policy: name, scope, key, low, high, limit, refused, part } of keys) {
      const policy = policies.find((each) => each.name === name && each.scope === scope);
      if (policy !== undefined) this.#put(policy, low, high, limit, refused, part, key);
    }
  }

  #remember(
    { policy, key, cursor: { low, high }, verdict: { admitted, remaining } }: Charge,
    limit: number,
  ): void {
    this.#put(policy, low, high, limit, !admitted, admitted ? 1 - remaining / limit : 1, key);
  }

  #put(
    policy: ResolvedPolicy,
    low: number,
    high: number,
    limit: number,
    refused: boolean,
    part: number,
    key: string,
  ): void {
    const slots = this.#slots;
    const first = ((low ^ (high >>> 7)) & (SETS - 1)) * WAYS;
    let place = first;
    let least = Infinity;
    for (let at = first; at < first + WAYS; at++) {
      const slot = slots[at]!;
      if (slot === null) {
        if (least > -1) place = at;
        least = -1;
        continue;
      }
      if (slot.low === low && slot.high === high && slot.policy === policy) {
        const known = slot as { -readonly [Name in keyof BusyKey]: BusyKey[Name] };
        known.refused = refused;
        known.limit = limit;
        known.part = part;
        return;
      }
      if (slot.part < least) {
        least = slot.part;
        place = at;
      }
    }
    slots[place] = { policy, key: copyOf(key), low, high, limit, refused, part };
  }
}

/** A text of its own: a piece of a request's head would keep all of that in memory. */
function copyOf(key: string): string {
  return ` ${key.slice(0, MAX_CHARS)}`.slice(1);
}
