/** What the last minutes were like. */

/** One second. */
interface HistoryPoint {
  readonly perSecond: number;
  readonly inFlight: number;
  readonly cpu: number;
  /** Responses a second with 1xx to 3xx, 4xx and 5xx. */
  readonly ok: number;
  readonly client: number;
  readonly server: number;
  /** Requests a second that the limits refused. */
  readonly refused: number;
  /** Quantiles of the latency in milliseconds; `null` where there was no request. */
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/** The last minutes, column by column. */
interface HistoryColumns {
  /** Seconds since 1970. */
  readonly time: readonly number[];
  readonly columns: Readonly<Record<keyof HistoryPoint, readonly (number | null)[]>>;
}

type Name = keyof HistoryPoint;
const NAMES = [
  "perSecond",
  "inFlight",
  "cpu",
  "ok",
  "client",
  "server",
  "refused",
  "p50",
  "p95",
  "p99",
] as const;

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
    const column = (name: Name) =>
      this.#points.map((point) => point[name] === null ? null : Math.round(point[name] * 1000) / 1000);
    const columns = Object.fromEntries(NAMES.map((name) => [name, column(name)]));
    return { time: [...this.#times], columns: columns as Record<Name, (number | null)[]> };
  }
}
