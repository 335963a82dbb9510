/** What the algorithms have in common. */

import type { Fingerprint } from "./fingerprint.ts";

/** The numbers of a policy for one decision. */
export interface Rule {
  /** How many in each window. */
  limit: number;
  windowUs: number;
  /** How many at once; only a token bucket has it apart from the limit. */
  burst: number;
  /** Whether refused requests count too. */
  penalize: boolean;
  /**
   * Whether no request of the policy can use up more of a token bucket than it holds: its numbers are constants, and
   * nothing is charged afterwards.
   */
  bounded: boolean;
}

/** What an algorithm decides, and the state of the key after it. */
export interface Verdict {
  admitted: boolean;
  /** The state afterwards; to be written when the request was admitted, is penalized, or `corrects` says so. */
  next: State;
  /**
   * Whether the state that was read lies beyond what the policy and the clock allow, because the window was longer, the
   * burst was larger or the clock was ahead when it was written. `next` is then to be written for a refused request as
   * well: bounded only as it is read, it would be as far ahead the next time, and refuse for as long as it lasts.
   */
  corrects: boolean;
  /** How much more would be admitted right after. */
  remaining: number;
  /** Microseconds until the same request would be admitted once more, if there were no others; `Infinity` for never. */
  retryAfterUs: number;
  /** Microseconds until the whole limit is there again. */
  resetUs: number;
}

/**
 * Decides about one request: a pure function that writes the decision into `into`, which keeps a decision free of
 * allocations.
 *
 * Times are whole microseconds. They may be earlier than those in the state: by what workers' clocks differ, and by much
 * where the clock of a store was set back.
 */
export type Algorithm = (
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
) => void;

/** Makes an empty decision to write into. */
export function makeVerdict(): Verdict {
  // Fractions first, so that the engine keeps these fields as numbers with fraction from the beginning.
  const verdict: Verdict = {
    admitted: false,
    next: { a: 0.5, b: 0.5, c: 0.5 },
    corrects: false,
    remaining: 0.5,
    retryAfterUs: 0.5,
    resetUs: 0.5,
  };
  verdict.next.a = verdict.next.b = verdict.next.c = 0;
  verdict.remaining = verdict.retryAfterUs = verdict.resetUs = 0;
  return verdict;
}

// Where a decision reads and writes.

/** What an algorithm knows about a key: three numbers, all 0 for a key that has none. */
export interface State {
  /** When the rest may be forgotten, in microseconds of the table's time. */
  a: number;
  b: number;
  c: number;
}

/** One key's place in a `SharedTable`, as it was read; made once and used for one decision after the other. */
export class Cursor implements Fingerprint, State {
  low = 0;
  high = 0;
  /** First word of the group. */
  base = 0;
  /** Version of the group when the entry was read. */
  version = 0;
  /** Place in the group; -1 when the key has none. */
  slot = -1;
  /** Whether the place is that of another key, which loses it when the cursor is written. */
  displaces = false;
  /** Share of the limit that is used, of `FULL_USE`; to be set before a write. */
  use = 0;
  a = 0.5;
  b = 0.5;
  c = 0.5;

  constructor() {
    // Begun as fractions and set to zero here: an engine that first sees small integers would box each later value.
    this.a = this.b = this.c = 0;
  }
}
