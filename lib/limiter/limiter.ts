/** Decides for each request whether its limits allow it. */

import { describeValue } from "../core/describe_value.ts";
import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import { BanList, erase, type PolicyStatus, setConstants, statusOf } from "./limit_control.ts";
import type { BusyKey, BusyKeys } from "./busy_keys.ts";
import { Charge, type CountedKey } from "./charge.ts";
import { callCost, ChargeList, dueCharges, OverflowNotice } from "./charge_list.ts";
import type { Decision } from "./policy.ts";
import { allowedDecision, limitedDecision, missingKeyDecision, UNLIMITED } from "./decision.ts";
import { type Fingerprint, fingerprintKey } from "./fingerprint.ts";
import type { KeySource } from "./key_spec.ts";
import { type Admitted, type LimiterStore, MemoryStore, type RateLimiterOptions } from "./memory_store.ts";
import { type LimiterPolicy, MAX_POLICIES, type ResolvedPolicy } from "./policy.ts";
import { resolvePolicies } from "./resolve_policy.ts";
import { SharedTable } from "./shared_table.ts";

/** What a key that is remembered has used. */
interface BusyKeyStatus {
  readonly policy: ResolvedPolicy;
  readonly key: string;
  /** Its limit; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much of it is used. */
  readonly used: number;
  /** Milliseconds for which it is banned; 0 when it is not. */
  readonly bannedMs: number;
  /** Milliseconds until it has its whole limit again; `null` when a store of several machines knows that. */
  readonly resetMs: number | null;
}

/** What a limiter would find. */
interface Foresight {
  /** The policy that refuses the request because it has no key; `null` where none does. */
  readonly keyless: ResolvedPolicy | null;
  /** What the others would say, and for how many milliseconds they have banned the key. */
  readonly statuses: readonly (PolicyStatus & { readonly bannedMs: number })[];
}

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
  readonly #scope: string;
  readonly #memory: MemoryStore;
  readonly #store: LimiterStore;
  readonly #bans: BanList;
  readonly #list: ChargeList;
  /** Lists for decisions that take their time, kept for the next ones. */
  readonly #spare: ChargeList[] = [];
  readonly #overflow: OverflowNotice | null;
  readonly #busy: BusyKeys | null;
  readonly #takesPermits: boolean;
  readonly #chargesLater: boolean;
  #disposed = false;

  /**
   * @throws {TypeError} when something is wrong with a policy, or two have the same name
   * @throws {RangeError} when `maxKeys` is out of range, or the table has no room for the policies
   */
  constructor(
    policies: LimiterPolicy<Ctx> | readonly (LimiterPolicy<Ctx> | ResolvedPolicy)[],
    options: RateLimiterOptions,
  ) {
    const { clock, random, scope = "", onOverflow } = options;
    this.policies = resolvePolicies(policies);
    if (this.policies.length > MAX_POLICIES) {
      throw new RangeError(
        `Cannot make a limiter of ${this.policies.length} policies, expected at most ${MAX_POLICIES}`,
      );
    }
    const { maxKeys = this.policies.reduce((sum, each) => sum + each.maxKeys, 0) } = options;
    const { table = SharedTable.create({ clock, random, maxKeys, sketches: this.policies.length }) } =
      options;
    this.table = table;
    this.#scope = scope;
    this.#memory = new MemoryStore(table);
    this.#store = options.store ?? this.#memory;
    this.#bans = new BanList(table);
    this.#takesPermits = this.policies.some(({ algorithm }) => algorithm === "concurrency");
    this.#chargesLater = this.policies.some(({ charge }) => charge !== null);
    this.#overflow = onOverflow === undefined ? null : new OverflowNotice(table, onOverflow);
    this.#busy = options.busyKeys ?? null;
    this.#list = this.#makeList();
  }

  /**
   * Decides about a request at once, and counts it when it is admitted.
   *
   * @param clockMs what the clock's `now` said when the request came; asked for when left out, which costs a third of a
   * decision
   * @throws {FilterError} when a function of a policy throws or gives no usable number; nothing is counted then
   * @throws {TypeError} when the counts are in a store that replies later: then call {@linkcode decide}
   */
  check(source: Ctx, clockMs?: number): Decision {
    if (this.#store.answersLater) throw new TypeError("Cannot check at once: the store responds later");
    return this.decide(source, clockMs) as Decision;
  }

  /** The same as {@linkcode check}, with a promise where the store takes its time. */
  decide(source: Ctx, clockMs?: number): Decision | Promise<Decision> {
    if (this.#disposed) throw new TypeError("Cannot use a limiter that has been disposed");
    if (this.#takesPermits) this.table.permits.retake();
    const later = this.#store.answersLater;
    const list = later ? this.#spare.pop() ?? this.#makeList() : this.#list;
    const count = list.collect(source);
    const banned = count > 0 && this.#bans.find(list.applying, count);
    if (count > 0 && !banned) {
      const admitted = this.#store.admit(list.applying, count, clockMs);
      if (admitted instanceof Promise) return this.#awaitDecision(list, count, admitted);
      const decision = this.#decided(list, count, admitted);
      if (later) this.#spare.push(list);
      return decision;
    }
    if (banned) this.#busy?.note(list.applying, count);
    const decision = count === 0
      ? UNLIMITED
      : count < 0
      ? missingKeyDecision(this.policies[-1 - count]!)
      : limitedDecision(list.applying, count, "banned");
    if (later) this.#spare.push(list);
    return decision;
  }

  /**
   * Charges what a request came to in the end, by the policies that have a `charge`; to be called once for each request
   * that was allowed, when it is over. Calling it again does nothing.
   *
   * @param counts `false` takes back what was counted, without asking: the request never reached a server
   * @throws {FilterError} when a `charge` throws or gives no usable number; its policy then counts the cost
   */
  settle(decision: Decision, source: Ctx, counts = true): void {
    if (decision.kind !== "allowed" || decision.due === null || this.#disposed) return;
    let failure: unknown = null;
    // Ours: nobody else makes decisions.
    for (const counted of decision.due.splice(0) as CountedKey[]) {
      try {
        const amount = counts ? callCost(counted.policy, "charge", counted.policy.charge!, source) : 0;
        this.#store.correct(counted, amount - counted.cost);
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== null) throw failure;
  }

  /** What each policy that applies to the request would say, without counting it. */
  peek(source: Ctx): PolicyStatus[] {
    if (this.#disposed) throw new TypeError("Cannot use a limiter that has been disposed");
    this.table.permits.retake();
    const count = Math.max(0, this.#list.collect(source));
    return count === 0 ? [] : statusOf(this.#memory, this.#list.applying.slice(0, count));
  }

  /** What {@linkcode decide} would find, without counting the request. */
  foresee(source: Ctx): Foresight {
    if (this.#disposed) throw new TypeError("Cannot use a limiter that has been disposed");
    this.table.permits.retake();
    const count = this.#list.collect(source);
    if (count < 0) return { keyless: this.policies[-1 - count]!, statuses: [] };
    const charges = this.#list.applying.slice(0, count);
    const statuses = statusOf(this.#memory, charges);
    return {
      keyless: null,
      statuses: statuses.map((status, i) => ({ ...status, bannedMs: this.#bans.leftMs(charges[i]!) })),
    };
  }

  /**
   * What policies have counted for a key, whoever asks by it.
   *
   * Policies whose limit is a function are left out: there is no request to hand to it.
   *
   * @param policyName of the policy that is meant; all when left out
   * @throws {RangeError} when there is no such policy
   */
  statusOf(key: string, policyName?: string): PolicyStatus[] {
    this.table.permits.retake();
    const charges = this.#chargesOf(policyName).filter(setConstants);
    for (const charge of charges) this.#list.aim(charge, key);
    return statusOf(this.#memory, charges);
  }

  /**
   * The remembered keys of its policies with what they have used by now, of which the table is asked; for counts that are
   * kept elsewhere, what they had used when they asked last. Those that have nothing used any more are left out.
   */
  busyKeys(): BusyKeyStatus[] {
    if (this.#busy === null || this.#disposed) return [];
    const { policies } = this;
    return this.#busy.list().filter(({ policy }) => policies.includes(policy)).flatMap((key) =>
      this.#busyStatus(key)
    );
  }

  #busyStatus(busy: BusyKey): BusyKeyStatus[] {
    const charge = this.#list.all.find(({ policy }) => policy === busy.policy)!;
    const { policy, cursor, rule, verdict } = charge;
    cursor.low = busy.low;
    cursor.high = busy.high;
    const bannedMs = this.#bans.leftMs(charge);
    if (policy.store !== null) {
      const used = Math.round(busy.part * busy.limit);
      return [{ policy, key: busy.key, limit: busy.limit, used, bannedMs, resetMs: null }];
    }
    // The limit by which it was refused or admitted last: that of a function is known by a request alone.
    rule.limit = busy.limit;
    rule.burst = busy.limit;
    if (policy.algorithm === "token-bucket" && typeof policy.limit === "number") rule.limit = policy.limit;
    charge.cost = 0;
    this.#memory.peek([charge], 1);
    const used = busy.limit - verdict.remaining;
    if (used <= 0 && bannedMs === 0) return [];
    return [{ policy, key: busy.key, limit: busy.limit, used, bannedMs, resetMs: verdict.resetUs / 1000 }];
  }

  /**
   * Forgets what was counted for a key, and lifts its ban.
   *
   * What is remembered of a key that lost its place in a full table stays.
   *
   * @param policyName of the policy whose count is meant; all when left out
   * @throws {RangeError} when there is no such policy
   */
  reset(key: string, policyName?: string): void {
    for (const charge of this.#chargesOf(policyName)) {
      this.#list.aim(charge, key);
      erase(this.table, charge.cursor);
      this.#bans.lift(charge);
      this.#store.reset?.(charge.policy, key);
    }
  }

  /**
   * Refuses everything that has the key for some time.
   *
   * @param duration `"10m"`, or milliseconds
   * @param policyName of the policy whose keys are meant; all when left out
   * @returns `false` when there was no room to write it down for all of these policies
   * @throws {RangeError} when there is no such policy
   * @throws {TypeError} when the duration is none
   */
  ban(key: string, duration: Duration, policyName?: string): boolean {
    const durationMs = parseDuration(duration);
    if (durationMs === undefined) {
      throw new TypeError(
        `Cannot ban a key: the duration must be ${DURATION_EXPECTED}, received ${describeValue(duration)}`,
      );
    }
    let written = true;
    for (const charge of this.#chargesOf(policyName)) {
      this.#list.aim(charge, key);
      written = this.#bans.add(charge, Math.round(durationMs * 1000)) && written;
    }
    return written;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#list.applying.length = 0;
    this.#spare.length = 0;
  }

  #makeList(): ChargeList {
    const { table } = this;
    const charges = this.policies.map((policy, index) => {
      const salt: Fingerprint = { low: 0, high: 0 };
      const text = `${policy.scope === "" ? this.#scope : policy.scope}\n${policy.name}\n${policy.algorithm}`;
      fingerprintKey(text, table.seedLow, table.seedHigh, salt);
      const window = saltOfWindow(policy, table);
      return new Charge(policy, index, table.sketch(salt.low === 0 ? 1 : salt.low), { ...salt, window });
    });
    return new ChargeList(charges, table);
  }

  #chargesOf(policyName: string | undefined): readonly Charge[] {
    if (policyName === undefined) return this.#list.all;
    const found = this.#list.all.filter(({ policy }) => policy.name === policyName);
    if (found.length === 0) {
      throw new RangeError(`There is no policy ${JSON.stringify(policyName)} in this limiter`);
    }
    return found;
  }

  #decided({ applying }: ChargeList, count: number, admitted: Admitted): Decision {
    this.#overflow?.tell(applying, count);
    this.#busy?.note(applying, count);
    if (admitted === "store-error") return limitedDecision(applying, count, "store-error");
    if (!admitted) return limitedDecision(applying, count, "limit");
    const lease = this.#takesPermits ? this.#store.hold(applying, count) : null;
    return allowedDecision(
      applying,
      count,
      lease,
      this.#chargesLater ? dueCharges(this.#store, applying, count) : null,
    );
  }

  async #awaitDecision(list: ChargeList, count: number, admitted: Promise<Admitted>): Promise<Decision> {
    const decision = this.#decided(list, count, await admitted);
    this.#spare.push(list);
    return decision;
  }
}

/**
 * Keeps states apart that make no sense with another window: a token bucket measures by the window, and the permits of a
 * concurrency policy are told apart by it.
 */
function saltOfWindow({ algorithm, windowMs }: ResolvedPolicy, { seedLow, seedHigh }: SharedTable): number {
  if (algorithm === "fixed-window" || algorithm === "sliding-window") return 0;
  const salt: Fingerprint = { low: 0, high: 0 };
  fingerprintKey(String(windowMs), seedLow, seedHigh, salt);
  return salt.low;
}
