/** Tells that keys of a policy do not fit the table. */

import type { Charge } from "./charge.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { SharedTable } from "./shared_table.ts";

/** Calls back when keys of a policy displace others or are counted by estimate, at most once a window of the policy. */
export class OverflowNotice {
  readonly #table: SharedTable;
  readonly #callback: (policy: ResolvedPolicy) => void;
  /** For each policy: until when nothing more is said. */
  readonly #silentUntil: number[] = [];

  constructor(table: SharedTable, callback: (policy: ResolvedPolicy) => void) {
    this.#table = table;
    this.#callback = callback;
  }

  /** Looks whether any of the charges found no place of its own. */
  tell(charges: readonly Charge[], count: number): void {
    for (let i = 0; i < count; i++) {
      const { overflowed, cursor, policy, index, rule } = charges[i]!;
      if (!overflowed && !cursor.displaces) continue;
      const now = this.#table.now();
      if ((this.#silentUntil[index] ?? 0) > now) continue;
      this.#silentUntil[index] = now + rule.windowUs;
      this.#callback(policy);
    }
  }
}
