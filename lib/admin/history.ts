/** What the last minutes were like. */

/** One second. */
interface HistoryPoint {
  readonly perSecond: number;
  readonly inFlight: number;
  readonly cpu: number;
}

/** The last minutes, column by column. */
interface HistoryColumns {
  /** Seconds since 1970. */
  readonly time: readonly number[];
  readonly columns: Readonly<Record<keyof HistoryPoint, readonly (number | null)[]>>;
}

/** Ten minutes. */
const KEPT = 600;

/** Keeps ten minutes. */
export class History {
  readonly #times: number[] = [];
  readonly #points: HistoryPoint[] = [];

  /** @param wallTime in milliseconds */
  add(wallTime: number, point: HistoryPoint): void {
    this.#times.push(Math.round(wallTime / 100) / 10);
    this.#points.push(point);
    if (this.#points.length <= KEPT) return;
    this.#times.shift();
    this.#points.shift();
  }

  /** All that is kept, oldest first. */
  columns(): HistoryColumns {
    const column = (name: keyof HistoryPoint) =>
      this.#points.map((point) => Math.round(point[name]! * 1000) / 1000);
    return {
      time: [...this.#times],
      columns: { perSecond: column("perSecond"), inFlight: column("inFlight"), cpu: column("cpu") },
    };
  }
}
