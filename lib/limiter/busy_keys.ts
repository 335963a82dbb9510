/** Names of keys that use much of their limits, for display: the table stores only fingerprints. */

import { type Charge, limitOf } from "./charge.ts";
import type { ResolvedPolicy } from "./policy.ts";

/** Sets of four keys each; a key belongs to one of them. */
const SETS = 256;
const WAYS = 4;
/** Keys that have used less than this part of their limit are not remembered. */
const LEAST_PART = 0.1;
/** Longer keys are truncated. */
const MAX_CHARS = 512;

/** A remembered key, with the state of its limit at its last request. */
export interface BusyKey {
  readonly policy: ResolvedPolicy;
  /** The key, or its first 512 characters. */
  readonly key: string;
  /** Its fingerprint in the table. */
  readonly low: number;
  readonly high: number;
  /** The limit of the key; the capacity, for a token bucket. */
  readonly limit: number;
  /** Whether its last request was refused. */
  readonly refused: boolean;
  /** Part of the limit used at that request, from 0 to 1. */
  readonly part: number;
}

/** A remembered key in messages to other processes. */
export interface NamedKey extends Omit<BusyKey, "policy"> {
  /** Name of the policy. */
  readonly policy: string;
  /** Route of the policy. */
  readonly scope: string;
}

/**
 * Remembers up to 1,024 keys by name.
 *
 * In a full set, the key with the lowest use is replaced. A known key costs one comparison per request. A limiter
 * without `BusyKeys` pays nothing.
 */
export class BusyKeys {
  readonly #slots: (BusyKey | null)[] = new Array(SETS * WAYS).fill(null);

  /** Records the decisions of a request. */
  note(charges: readonly Charge[], count: number): void {
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      const { verdict: { admitted, remaining } } = charge;
      const limit = limitOf(charge);
      if (!admitted || remaining <= limit * (1 - LEAST_PART)) this.#remember(charge, limit);
    }
  }

  /** All remembered keys. */
  list(): BusyKey[] {
    return this.#slots.filter((slot) => slot !== null);
  }

  /** The keys of these policies with the highest use, for another process. Keys of former policies had other limits. */
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

  /** Adds keys of another process if their policies are known here. */
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

/** A copy: a substring of a request head would keep the whole head in memory. */
function copyOf(key: string): string {
  return ` ${key.slice(0, MAX_CHARS)}`.slice(1);
}
