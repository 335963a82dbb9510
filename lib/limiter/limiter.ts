/** Decides for each request whether its limits allow it. */

import type { Clock } from "../core/clock.ts";
import { FilterError } from "../core/errors.ts";
import type { Lease } from "../core/lease.ts";
import type { Random } from "../core/random.ts";
import { addressGroup } from "./address_group.ts";
import { BanList, erase } from "./ban_list.ts";
import { Charge } from "./charge.ts";
import {
  allowedDecision,
  type Decision,
  limitedDecision,
  missingKeyDecision,
  UNLIMITED,
} from "./decision.ts";
import { type Fingerprint, fingerprintKey } from "./fingerprint.ts";
import { holdPlaces } from "./held_places.ts";
import type { KeySource } from "./key_spec.ts";
import { MemoryStore } from "./memory_store.ts";
import { type LimiterPolicy, type ResolvedPolicy, resolvePolicies } from "./policy.ts";
import { SharedTable } from "./shared_table.ts";

export type { Decision } from "./decision.ts";

/** What a {@linkcode RateLimiter} takes beside its policies. */
export interface RateLimiterOptions {
  clock: Clock;
  /** Seeds the table that the limiter makes for itself. */
  random: Random;
  /** How many keys are counted exactly; each policy's count one by one. Ignored with `table`. @default {100_000} */
  maxKeys?: number;
  /** The counts, when they are shared with other workers; otherwise the limiter makes a table of its own. */
  table?: SharedTable;
  /**
   * Sets the counts apart from those of other limiters that share the table: the name of a route, say.
   *
   * @default {""}
   */
  scope?: string;
  /** Called when keys of a policy do not fit the table and are counted by estimate; at most once a window. */
  onOverflow?: (policy: ResolvedPolicy) => void;
}

/** What one policy says about a request, without counting it. */
export interface PolicyStatus {
  readonly policy: ResolvedPolicy;
  readonly key: string;
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
  /** 0 when the request would be admitted. */
  readonly retryAfterMs: number;
}

/** Most policies of one limiter: a decision tells by one bit each whether they apply. */
const MAX_POLICIES = 30;

/**
 * Counts requests by key and refuses those beyond the limits.
 *
 * All policies are checked, then all are charged: a request that one of them refuses costs nothing in the others. Made
 * once, used for every request; a decision allocates nothing but itself and what the key's function makes.
 */
export class RateLimiter<Ctx extends KeySource = KeySource> implements Disposable {
  /** The policies, complete. */
  readonly policies: readonly ResolvedPolicy[];
  /** Where the counts are; attach it in other workers to share them. */
  readonly table: SharedTable;
  readonly #store: MemoryStore;
  readonly #bans: BanList;
  readonly #charges: readonly Charge[];
  readonly #applying: Charge[] = [];
  readonly #hash: Fingerprint = { low: 0, high: 0 };
  readonly #onOverflow: ((policy: ResolvedPolicy) => void) | null;
  readonly #overflowToldUntil: Float64Array;
  readonly #takesPlaces: boolean;
  #collecting = false;
  #disposed = false;

  /**
   * @throws {TypeError} when something is wrong with a policy, or two have the same name
   * @throws {RangeError} when `maxKeys` is out of range, or the table has no room for the policies
   */
  constructor(
    policies: LimiterPolicy<Ctx> | readonly (LimiterPolicy<Ctx> | ResolvedPolicy)[],
    options: RateLimiterOptions,
  ) {
    const { clock, random, maxKeys = 100_000, scope = "", onOverflow = null } = options;
    this.policies = resolvePolicies(policies);
    if (this.policies.length > MAX_POLICIES) {
      throw new RangeError(
        `Cannot make a limiter of ${this.policies.length} policies, expected at most ${MAX_POLICIES}`,
      );
    }
    const { table = SharedTable.create({ clock, random, maxKeys, sketches: this.policies.length }) } =
      options;
    this.table = table;
    this.#store = new MemoryStore(table);
    this.#bans = new BanList(table);
    this.#takesPlaces = this.policies.some(({ algorithm }) => algorithm === "concurrency");
    this.#onOverflow = onOverflow;
    this.#overflowToldUntil = new Float64Array(this.policies.length);
    this.#charges = this.policies.map((policy, index) => {
      const salt: Fingerprint = { low: 0, high: 0 };
      fingerprintKey(`${scope}\n${policy.name}\n${policy.algorithm}`, table.seedLow, table.seedHigh, salt);
      return new Charge(policy, index, table.sketch(salt.low === 0 ? 1 : salt.low), salt);
    });
  }

  /**
   * Decides about a request, and counts it when it is admitted.
   *
   * @param clockMs what the clock's `now` said when the request came; asked for when left out, which costs a third of a
   * decision
   * @throws {FilterError} when a function of a policy throws or gives no usable number; nothing is counted then
   */
  check(source: Ctx, clockMs?: number): Decision {
    const count = this.#collect(source);
    if (count < 0) return missingKeyDecision(this.policies[-1 - count]!);
    if (count === 0) return UNLIMITED;
    const charges = this.#applying;
    const banned = this.#bans.find(charges, count);
    const admitted = !banned && this.#store.admit(charges, count, clockMs);
    if (this.#onOverflow !== null) this.#tellOverflow(charges, count);
    if (!admitted) return limitedDecision(charges, count, banned ? "banned" : "limit");
    return allowedDecision(charges, count, this.#hold(count));
  }

  /** What each policy that applies to the request would say, without counting it. */
  peek(source: Ctx): PolicyStatus[] {
    const count = Math.max(0, this.#collect(source));
    if (count === 0) return [];
    const charges = this.#applying.slice(0, count);
    this.#store.peek(charges, count);
    const waits = charges.map(({ verdict }) => verdict.admitted ? 0 : verdict.retryAfterUs / 1000);
    // A second look at no cost: what is left before the request and not after it.
    for (const charge of charges) charge.cost = 0;
    this.#store.peek(charges, count);
    return charges.map(({ policy, key, rule, verdict }, i) => ({
      policy,
      key,
      limit: policy.algorithm === "token-bucket" ? rule.burst : rule.limit,
      remaining: verdict.remaining,
      resetMs: verdict.resetUs / 1000,
      retryAfterMs: waits[i]!,
    }));
  }

  /**
   * Forgets what was counted for a key, and lifts its ban.
   *
   * Keys that did not fit the table are counted together with others and go on being estimated.
   *
   * @param policyName of the policy whose count is meant; all when left out
   */
  reset(key: string, policyName?: string): void {
    for (const charge of this.#chargesOf(policyName)) {
      this.#aim(charge, key);
      erase(this.table, charge.cursor);
      this.#bans.lift(charge.cursor);
    }
  }

  /**
   * Refuses everything that has the key for some time.
   *
   * @param policyName of the policy whose keys are meant; all when left out
   * @returns `false` when there was no room to write it down for all of these policies
   */
  ban(key: string, durationMs: number, policyName?: string): boolean {
    let written = true;
    for (const charge of this.#chargesOf(policyName)) {
      this.#aim(charge, key);
      written = this.#bans.add(charge.cursor, Math.round(durationMs * 1000)) && written;
    }
    return written;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#applying.length = 0;
  }

  #chargesOf(policyName: string | undefined): readonly Charge[] {
    if (policyName === undefined) return this.#charges;
    const found = this.#charges.filter(({ policy }) => policy.name === policyName);
    if (found.length === 0) {
      throw new RangeError(`There is no policy ${JSON.stringify(policyName)} in this limiter`);
    }
    return found;
  }

  /** Lines up the charges that apply to a request and returns their number, or `-1 - i` when policy `i` lacks a key. */
  #collect(source: Ctx): number {
    if (this.#disposed) throw new TypeError("Cannot use a limiter that has been disposed");
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

  #collectAll(source: Ctx): number {
    const charges = this.#charges;
    let count = 0;
    for (let i = 0; i < charges.length; i++) {
      const charge = charges[i]!;
      const { policy } = charge;
      if (policy.exempt !== null && callExempt(policy, policy.exempt, source)) continue;
      let key = callKey(policy, source);
      if (key === null) {
        if (policy.onMissingKey === "reject" && !policy.dryRun) return -1 - i;
        if (policy.onMissingKey !== "ip" || source.clientIp === "") continue;
        key = addressGroup(source.clientIp, policy.ipv6Prefix);
      }
      const { rule } = charge;
      rule.limit = typeof policy.limit === "number"
        ? policy.limit
        : callNumber(policy, "limit", policy.limit, key, source);
      if (rule.limit === Infinity) continue;
      rule.burst = rule.limit;
      if (policy.burst !== null) {
        rule.burst = typeof policy.burst === "number"
          ? policy.burst
          : callNumber(policy, "burst", policy.burst, key, source);
      }
      charge.cost = typeof policy.cost === "number" ? policy.cost : callCost(policy, policy.cost, source);
      this.#aim(charge, key);
      this.#applying[count++] = charge;
    }
    return count;
  }

  #aim(charge: Charge, key: string): void {
    const hash = this.#hash;
    fingerprintKey(key, this.table.seedLow, this.table.seedHigh, hash);
    charge.key = key;
    charge.cursor.low = hash.low ^ charge.saltLow;
    charge.cursor.high = hash.high ^ charge.saltHigh;
  }

  #hold(count: number): Lease | null {
    return this.#takesPlaces ? holdPlaces(this.table, this.#applying, count, this.#store.decidedAt) : null;
  }

  #tellOverflow(charges: readonly Charge[], count: number): void {
    for (let i = 0; i < count; i++) {
      const { overflowed, policy, index, rule } = charges[i]!;
      if (!overflowed) continue;
      const now = this.table.now();
      if (this.#overflowToldUntil[index]! > now) continue;
      this.#overflowToldUntil[index] = now + rule.windowUs;
      this.#onOverflow?.(policy);
    }
  }
}

function callExempt<Ctx extends KeySource>(
  policy: ResolvedPolicy,
  exempt: NonNullable<ResolvedPolicy["exempt"]>,
  source: Ctx,
): boolean {
  try {
    return exempt(source);
  } catch (error) {
    throw new FilterError(phaseOf(policy, "exempt"), error);
  }
}

function callKey<Ctx extends KeySource>(policy: ResolvedPolicy, source: Ctx): string | null {
  let key: unknown;
  try {
    key = policy.key(source);
  } catch (error) {
    throw new FilterError(phaseOf(policy, "key"), error);
  }
  if (key === null || typeof key === "string") return key;
  throw new FilterError(
    phaseOf(policy, "key"),
    new TypeError(`received ${String(key)}, expected a string or null`),
  );
}

function callNumber<Ctx extends KeySource>(
  policy: ResolvedPolicy,
  option: string,
  call: (key: string, ctx: KeySource) => number,
  key: string,
  source: Ctx,
): number {
  let value: unknown;
  try {
    value = call(key, source);
  } catch (error) {
    throw new FilterError(phaseOf(policy, option), error);
  }
  return checkedNumber(policy, option, value);
}

function callCost<Ctx extends KeySource>(
  policy: ResolvedPolicy,
  call: (ctx: KeySource) => number,
  source: Ctx,
): number {
  let value: unknown;
  try {
    value = call(source);
  } catch (error) {
    throw new FilterError(phaseOf(policy, "cost"), error);
  }
  return checkedNumber(policy, "cost", value);
}

function checkedNumber(policy: ResolvedPolicy, option: string, value: unknown): number {
  if (typeof value === "number" && value >= 0) return value;
  throw new FilterError(
    phaseOf(policy, option),
    new RangeError(`received ${String(value)}, expected a number of at least 0`),
  );
}

function phaseOf(policy: ResolvedPolicy, option: string): string {
  return `${option} of the limiter policy ${JSON.stringify(policy.name)}`;
}
