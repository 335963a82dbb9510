/** Tokens taken from a store in advance, so that not every request of a busy key has to ask. */

import type { Charge } from "../limiter/charge.ts";

/** How many leases are kept at most; the oldest go first, and with them what is left of them. */
const CAPACITY = 10_000;

/** What was granted and has not been used. */
interface TokenLease {
  left: number;
  /** Clock time in microseconds. */
  readonly untilUs: number;
  /** For each charge what remains beside the lease, and when all is there again. */
  readonly remaining: readonly number[];
  readonly resetAtUs: readonly number[];
}

/**
 * Leases by all that a request is counted by.
 *
 * A lease ends with the first of its windows, counted from when it was asked for: so a fixed window never admits more than
 * its limit. What is not used until then is lost. A sliding window or a bucket may admit up to `size - 1` more for each
 * instance within an interval, which were taken before it.
 */
export class TokenLeases {
  readonly #size: number;
  readonly #leases: Map<string, TokenLease> = new Map();

  /** @param size how much is taken at a time; 1 for no leases */
  constructor(size: number) {
    this.#size = size;
  }

  /** How often to count the request at the store: more than once when the rest is to be kept. */
  timesFor(charges: readonly Charge[], count: number): number {
    if (this.#size === 1) return 1;
    for (let i = 0; i < count; i++) {
      const { policy: { algorithm, penalize, dryRun, charge } } = charges[i]!;
      // Each of them needs to know of every single request.
      if (algorithm === "concurrency" || penalize || dryRun || charge !== null) return 1;
    }
    return this.#size;
  }

  /** Admits the request from a lease, when there is one; the verdicts then say so. */
  take(charges: readonly Charge[], count: number, keys: readonly string[], nowUs: number): boolean {
    if (this.#leases.size === 0) return false;
    const id = idOf(charges, count, keys);
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    if (lease.untilUs <= nowUs) {
      this.#leases.delete(id);
      return false;
    }
    if (--lease.left === 0) this.#leases.delete(id);
    for (let i = 0; i < count; i++) {
      const { verdict, cost } = charges[i]!;
      charges[i]!.place = "store";
      verdict.admitted = true;
      verdict.remaining = lease.remaining[i]! + Math.floor(lease.left * cost);
      verdict.retryAfterUs = 0;
      verdict.resetUs = Math.max(0, lease.resetAtUs[i]! - nowUs);
    }
    return true;
  }

  /** Keeps what was granted beyond one request; the verdicts count it as remaining. */
  keep(
    charges: readonly Charge[],
    count: number,
    keys: readonly string[],
    granted: number,
    askedUs: number,
  ): void {
    if (granted <= 1) return;
    const list = charges.slice(0, count);
    const id = idOf(charges, count, keys);
    this.#leases.delete(id);
    this.#leases.set(id, {
      left: granted - 1,
      untilUs: askedUs +
        Math.min(...list.map(({ verdict, rule }) => Math.min(verdict.resetUs, rule.windowUs))),
      remaining: list.map(({ verdict }) => verdict.remaining),
      resetAtUs: list.map(({ verdict }) => askedUs + verdict.resetUs),
    });
    for (const { verdict, cost } of list) verdict.remaining += Math.floor((granted - 1) * cost);
    if (this.#leases.size > CAPACITY) this.#leases.delete(this.#leases.keys().next().value!);
  }

  /** Forgets all leases: some key's count is not what it was. */
  clear(): void {
    this.#leases.clear();
  }
}

function idOf(charges: readonly Charge[], count: number, keys: readonly string[]): string {
  let id = "";
  for (let i = 0; i < count; i++) {
    const { cost, rule } = charges[i]!;
    id += `${cost} ${rule.limit} ${rule.burst} ${keys[i]!}\n`;
  }
  return id;
}
