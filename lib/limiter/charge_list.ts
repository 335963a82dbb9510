/** The charges of each policy for a request. */

import { checkedBoolean, unexpected } from "../core/callback.ts";
import { FilterError } from "../core/errors.ts";
import type { Charge, CountedKey } from "./charge.ts";
import { type Fingerprint, fingerprintKey } from "./fingerprint.ts";
import { addressGroup, checkedKey, type KeySource } from "./key_spec.ts";
import type { LimiterStore } from "./memory_store.ts";
import { MAX_LIMIT, type ResolvedPolicy } from "./policy.ts";
import type { SharedTable } from "./shared_table.ts";

/** One charge per policy of a limiter, reused for one request after the other. */
export class ChargeList {
  /** One charge per policy, in the order of the policies. */
  readonly all: readonly Charge[];
  /** The charges that apply to the last request of {@linkcode collect}; entries beyond its count are stale. */
  readonly applying: Charge[] = [];
  readonly #table: SharedTable;
  readonly #hash: Fingerprint = { low: 0, high: 0 };
  #collecting = false;

  constructor(all: readonly Charge[], table: SharedTable) {
    this.all = all;
    this.#table = table;
  }

  /**
   * Collects the charges that apply to a request. Returns their number, or `-1 - i` if policy `i` requires a key that
   * is missing.
   */
  collect(source: KeySource): number {
    if (this.#collecting) {
      throw new TypeError("Cannot use a limiter from within a function of one of its policies");
    }
    this.#collecting = true;
    try {
      return this.#collectAll(source);
    } finally {
      this.#collecting = false;
    }
  }

  /** Sets the key of a charge. */
  aim(charge: Charge, key: string): void {
    const hash = this.#hash;
    fingerprintKey(key, this.#table.seedLow, this.#table.seedHigh, hash);
    charge.key = key;
    charge.cursor.low = hash.low ^ charge.saltLow;
    charge.cursor.high = hash.high ^ charge.saltHigh;
  }

  #collectAll(source: KeySource): number {
    const charges = this.all;
    let count = 0;
    for (let i = 0; i < charges.length; i++) {
      const charge = charges[i]!;
      const { policy, rule } = charge;
      if (policy.exempt !== null && callExempt(policy, policy.exempt, source)) continue;
      let key = callKey(policy, source);
      if (key === null) {
        if (policy.onMissingKey === "reject" && !policy.dryRun) return -1 - i;
        if (policy.onMissingKey !== "ip" || source.clientIp === "") continue;
        key = addressGroup(source.clientIp, policy.ipv6Prefix);
      }
      rule.limit = callKeyed(policy, "limit", policy.limit, key, source);
      if (rule.limit === Infinity) continue;
      rule.burst = policy.burst === null ? rule.limit : callKeyed(policy, "burst", policy.burst, key, source);
      charge.cost = callCost(policy, "cost", policy.cost, source);
      this.aim(charge, key);
      this.applying[count++] = charge;
    }
    return count;
  }
}

// Calls the functions of a policy, and checks their results.

/**
 * Whether the policy does not apply to the request.
 *
 * @throws {FilterError} when the function throws, or returns something other than true, false or nothing
 */
function callExempt(
  policy: ResolvedPolicy,
  exempt: NonNullable<ResolvedPolicy["exempt"]>,
  source: KeySource,
): boolean {
  try {
    return checkedBoolean(exempt(source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, "exempt"), error);
  }
}

/**
 * The key of the request.
 *
 * @throws {FilterError} when the function throws, or returns no valid key
 */
function callKey(policy: ResolvedPolicy, source: KeySource): string | null {
  try {
    return checkedKey(policy.key(source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, "key"), error);
  }
}

/**
 * A limit or a burst for a key; `Infinity` for a key without a limit.
 *
 * @throws {FilterError} when the function throws, or returns an invalid number
 */
function callKeyed(
  policy: ResolvedPolicy,
  option: "limit" | "burst",
  value: ResolvedPolicy["limit"],
  key: string,
  source: KeySource,
): number {
  if (typeof value === "number") return value;
  try {
    return checkedCount(option, value(key, source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, option), error);
  }
}

/**
 * The cost of a request, before it or after it.
 *
 * @throws {FilterError} when the function throws, or returns an invalid number
 */
export function callCost(
  policy: ResolvedPolicy,
  option: "cost" | "charge",
  value: ResolvedPolicy["cost"],
  source: KeySource,
): number {
  if (typeof value === "number") return value;
  try {
    return checkedCost(value(source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, option), error);
  }
}

/** As strict as for a number in the configuration: a fraction, or a number beyond the exact range, would admit more. */
function checkedCount(option: "limit" | "burst", value: unknown): number {
  if (typeof value === "number" && value >= 0) {
    if (value <= MAX_LIMIT && Number.isInteger(value)) return value;
    if (value === Infinity && option === "limit") return value;
  }
  throw unexpected(
    `a whole number from 0 to ${MAX_LIMIT}${option === "limit" ? ", or Infinity" : ""}`,
    value,
  );
}

/**
 * Amounts such as bytes or milliseconds: fractions are rounded up, and amounts above the largest limit are reduced to
 * it.
 */
function checkedCost(value: unknown): number {
  if (typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER) {
    return Math.min(Math.ceil(value), MAX_LIMIT);
  }
  throw unexpected(`a number from 0 to ${Number.MAX_SAFE_INTEGER}`, value);
}

function phaseOf(policy: ResolvedPolicy, option: string): string {
  return `${option} of the limiter policy ${JSON.stringify(policy.name)}`;
}

// Charges that are due when an admitted request has ended.

/** The records of the policies that charge again when the request has ended; `null` if there are none. */
export function dueCharges(
  store: LimiterStore,
  charges: readonly Charge[],
  count: number,
): CountedKey[] | null {
  let due: CountedKey[] | null = null;
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    // A request that a dry run did not admit has not been counted by it.
    if (charge.policy.charge !== null && charge.verdict.admitted) (due ??= []).push(store.counted(charge));
  }
  return due;
}

// Notice that keys of a policy do not fit the table.

/**
 * Calls back when keys of a policy displace others or are counted by estimate, at most once per window of the policy.
 */
export class OverflowNotice {
  readonly #table: SharedTable;
  readonly #callback: (policy: ResolvedPolicy) => void;
  /** For each policy: time of its next report at the earliest. */
  readonly #nextNoticeAt: number[] = [];

  constructor(table: SharedTable, callback: (policy: ResolvedPolicy) => void) {
    this.#table = table;
    this.#callback = callback;
  }

  /** Reports policies whose key displaced another one or is counted by estimate. */
  tell(charges: readonly Charge[], count: number): void {
    for (let i = 0; i < count; i++) {
      const { overflowed, cursor, policy, index, rule } = charges[i]!;
      if (!overflowed && !cursor.displaces) continue;
      const now = this.#table.now();
      if ((this.#nextNoticeAt[index] ?? 0) > now) continue;
      this.#nextNoticeAt[index] = now + rule.windowUs;
      this.#callback(policy);
    }
  }
}
