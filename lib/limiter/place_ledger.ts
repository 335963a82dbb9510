/** What a worker holds of concurrency policies, in memory where it can be given back when the worker has ended. */

/** Most places that are written down; what a worker holds beyond them is free after a window or two. */
const MAX_PLACES = 4096;
const COUNT = 0;
const FIRST = 2;
const PLACE_SIZE = 5;

/** Bytes of the ledger of one worker. */
export const LEDGER_BYTES: number = (FIRST + MAX_PLACES * PLACE_SIZE) * 8;

/** Places that are held: of which key, how many, for how long, and by when they were counted. */
interface LedgerEntry {
  readonly low: number;
  readonly high: number;
  readonly cost: number;
  readonly windowUs: number;
  readonly expiresAt: number;
}

/** A list of what is held, which one process writes and another reads when that one has ended. */
export class PlaceLedger {
  readonly #numbers: Float64Array;

  /** @param process whose ledger it is, in memory of several */
  constructor(buffer: ArrayBufferLike, process = 0) {
    this.#numbers = new Float64Array(buffer, process * LEDGER_BYTES, LEDGER_BYTES / 8);
  }

  /** How many entries there are. */
  set count(count: number) {
    this.#numbers[COUNT] = count;
  }

  /** Writes one down. */
  set(index: number, { low, high, cost, windowUs, expiresAt }: LedgerEntry): void {
    if (index >= MAX_PLACES) return;
    const numbers = this.#numbers;
    const at = FIRST + index * PLACE_SIZE;
    numbers[at] = low;
    numbers[at + 1] = high;
    numbers[at + 2] = cost;
    numbers[at + 3] = windowUs;
    numbers[at + 4] = expiresAt;
  }

  /** Takes all entries off. */
  take(): readonly LedgerEntry[] {
    const numbers = this.#numbers;
    const count = Math.min(MAX_PLACES, numbers[COUNT]!);
    numbers[COUNT] = 0;
    return Array.from({ length: count }, (_, index) => {
      const at = FIRST + index * PLACE_SIZE;
      const [low, high, cost, windowUs, expiresAt] = numbers.subarray(
        at,
        at + PLACE_SIZE,
      ) as unknown as readonly [number, number, number, number, number];
      return { low, high, cost, windowUs, expiresAt };
    });
  }
}
