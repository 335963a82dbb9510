/** What a request is to be charged by each policy. */

import { addressGroup } from "./address_group.ts";
import type { Charge } from "./charge.ts";
import { type Fingerprint, fingerprintKey } from "./fingerprint.ts";
import type { KeySource } from "./key_spec.ts";
import { callCost, callExempt, callKey, callKeyed } from "./policy_calls.ts";
import type { SharedTable } from "./shared_table.ts";

/** A charge for each policy of a limiter, filled in for one request after the other. */
export class ChargeList {
  /** One for each policy, in their order. */
  readonly all: readonly Charge[];
  /** Those that apply to the request that {@linkcode collect} was asked about; what follows is left over. */
  readonly applying: Charge[] = [];
  readonly #table: SharedTable;
  readonly #hash: Fingerprint = { low: 0, high: 0 };
  #collecting = false;

  constructor(all: readonly Charge[], table: SharedTable) {
    this.all = all;
    this.#table = table;
  }

  /** Lines up the charges that apply to a request and returns their number, or `-1 - i` when policy `i` lacks a key. */
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

  /** Points a charge at a key. */
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
