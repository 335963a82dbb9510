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
import { addressGroup, type KeySource } from "./key_spec.ts";
import { type Admitted, type LimiterStore, MemoryStore, type RateLimiterOptions } from "./memory_store.ts";
import { type LimiterPolicy, MAX_POLICIES, type ResolvedPolicy } from "./policy.ts";
import { resolvePolicies } from "./resolve_policy.ts";
import { SharedTable } from "./shared_table.ts";

/** What a remembered key has used. */
interface BusyKeyStatus {
  readonly policy: ResolvedPolicy;
  readonly key: string;
  /** Its limit; the capacity, for a token bucket. */
  readonly limit: number;
  /** Used part of the limit. */
  readonly used: number;
  /** Milliseconds until its ban ends; 0 when it is not banned. */
  readonly bannedMs: number;
  /** Milliseconds until the whole limit is available again; `null` if only a shared store knows. */
  readonly resetMs: number | null;
}

/** The result of {@linkcode RateLimiter.foresee}. */
interface Foresight {
  /** The policy that would refuse the request because it has no key; `null` if there is none. */
  readonly keyless: ResolvedPolicy | null;
  /** The status of each policy that applies, and the remaining milliseconds of a ban of the key. */
  readonly statuses: readonly (PolicyStatus & { readonly bannedMs: number })[];
}

/**
 * Counts requests by key and refuses those beyond the limits.
 *
 * All policies are checked, then all are charged: a request that one policy refuses costs nothing in the others. One
 * limiter serves all requests; a decision allocates only itself and what the key's function allocates.
 */
export class RateLimiter<Ctx extends KeySource = KeySource> implements Disposable {
  /** The policies, complete. */
  readonly policies: readonly ResolvedPolicy[];
  /** The counts. Attach the table in other workers to share them. */
  readonly table: SharedTable;
  readonly #scope: string;
  readonly #memory: MemoryStore;
  readonly #store: LimiterStore;
  readonly #bans: BanList;
  readonly #list: ChargeList;
  /** Lists for asynchronous decisions, kept for reuse. */
  readonly #spareLists: ChargeList[] = [];
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
   * Decides about a request synchronously and counts it if it is admitted.
   *
   * @param clockMs time of the clock when the request was received; read from the clock when left out, which costs a
   * third of a decision
   * @throws {FilterError} when a function of a policy throws or returns no usable number; nothing is counted then
   * @throws {TypeError} when the counts are in an asynchronous store: call {@linkcode decide} instead
   */
  check(source: Ctx, clockMs?: number): Decision {
    if (this.#store.answersLater) throw new TypeError("Cannot check at once: the store responds later");
    return this.decide(source, clockMs) as Decision;
  }

  /** Like {@linkcode check}, but returns a promise if the store is asynchronous. */
  decide(source: Ctx, clockMs?: number): Decision | Promise<Decision> {
    if (this.#disposed) throw new TypeError("Cannot use a limiter that has been disposed");
    if (this.#takesPermits) this.table.permits.retake();
    const later = this.#store.answersLater;
    const list = later ? this.#spareLists.pop() ?? this.#makeList() : this.#list;
    const count = list.collect(source);
    const banned = count > 0 && this.#bans.find(list.applying, count);
    if (count > 0 && !banned) {
      const admitted = this.#store.admit(list.applying, count, clockMs);
      if (admitted instanceof Promise) return this.#awaitDecision(list, count, admitted);
      const decision = this.#makeDecision(list, count, admitted);
      if (later) this.#spareLists.push(list);
      return decision;
    }
    if (banned) this.#busy?.note(list.applying, count);
    const decision = count === 0
      ? UNLIMITED
      : count < 0
      ? missingKeyDecision(this.policies[-1 - count]!)
      : limitedDecision(list.applying, count, "banned");
    if (later) this.#spareLists.push(list);
    return decision;
  }

  /**
   * Charges the final cost of a request for the policies that have a `charge`. Call it once for each allowed request,
   * when it has ended. Further calls do nothing.
   *
   * @param counts `false` takes back what was counted and calls no `charge`: the request never reached a server
   * @throws {FilterError} when a `charge` throws or returns no usable number; its policy then counts the cost
   */
  settle(decision: Decision, source: Ctx, counts = true): void {
    if (decision.kind !== "allowed" || decision.due === null || this.#disposed) return;
    let failure: unknown = null;
    // Safe: only this limiter makes decisions.
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

  /** The status of each policy that applies to the request, without counting it. */
  peek(source: Ctx): PolicyStatus[] {
    if (this.#disposed) throw new TypeError("Cannot use a limiter that has been disposed");
    this.table.permits.retake();
    const count = Math.max(0, this.#list.collect(source));
    return count === 0 ? [] : statusOf(this.#memory, this.#list.applying.slice(0, count));
  }

  /** The decision that {@linkcode decide} would make, without counting the request. */
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
   * The counts of a key in each policy.
   *
   * Policies whose limit is a function are left out: there is no request to pass to it.
   *
   * @param policyName name of one policy; all policies when left out
   * @throws {RangeError} when there is no such policy
   */
  statusOf(key: string, policyName?: string): PolicyStatus[] {
    this.table.permits.retake();
    const charges = this.#chargesOf(policyName).filter(setConstants);
    for (const charge of charges) this.#list.aim(charge, keyAsCounted(charge.policy, key));
    return statusOf(this.#memory, charges);
  }

  /**
   * The remembered keys of these policies with their current use, read from the table. For counts in another store it
   * is the use at their last request. Keys without any use are left out.
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
    // The limit at its last request: a limit that is a function cannot be computed without a request.
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
   * Deletes the counts of a key, and lifts its ban.
   *
   * The remembered share of a key that lost its entry in a full table stays.
   *
   * @param policyName name of one policy; all policies when left out
   * @throws {RangeError} when there is no such policy
   */
  reset(key: string, policyName?: string): void {
    for (const charge of this.#chargesOf(policyName)) {
      this.#list.aim(charge, keyAsCounted(charge.policy, key));
      erase(this.table, charge.cursor);
      this.#bans.lift(charge);
      this.#store.reset?.(charge.policy, charge.key);
    }
  }

  /**
   * Refuses all requests with a key for some time.
   *
   * @param duration `"10m"`, or milliseconds
   * @param policyName name of one policy; all policies when left out
   * @returns `false` when the table had no room for the bans of all these policies
   * @throws {RangeError} when there is no such policy
   * @throws {TypeError} when the duration is not valid
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
      this.#list.aim(charge, keyAsCounted(charge.policy, key));
      written = this.#bans.add(charge, Math.round(durationMs * 1000)) && written;
    }
    return written;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#list.applying.length = 0;
    this.#spareLists.length = 0;
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

  #makeDecision({ applying }: ChargeList, count: number, admitted: Admitted): Decision {
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
    const decision = this.#makeDecision(list, count, await admitted);
    this.#spareLists.push(list);
    return decision;
  }
}

/**
 * Separates states that are invalid for another window: a token bucket measures in units of its window, and the permits
 * of a concurrency policy are matched by it.
 */
function saltOfWindow({ algorithm, windowMs }: ResolvedPolicy, { seedLow, seedHigh }: SharedTable): number {
  if (algorithm === "fixed-window" || algorithm === "sliding-window") return 0;
  const salt: Fingerprint = { low: 0, high: 0 };
  fingerprintKey(String(windowMs), seedLow, seedHigh, salt);
  return salt.low;
}

/** The key by which requests are counted: where that is the network of an address, callers may name any of its addresses. */
function keyAsCounted({ keySpec, ipv6Prefix }: ResolvedPolicy, key: string): string {
  // An array with this one name is the same key.
  return String(keySpec) === "ip" ? addressGroup(key, ipv6Prefix) : key;
}
