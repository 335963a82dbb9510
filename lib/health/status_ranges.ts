/** Statuses as an operator lists them. */

/** Statuses from one to another, both included. */
export interface StatusRange {
  readonly from: number;
  readonly to: number;
}

/** What a list of statuses has to look like, for error messages. */
export const STATUSES_EXPECTED = 'statuses such as 200 or "200-299"';

/**
 * Reads a list of statuses.
 *
 * @throws {TypeError} when an entry is neither a status nor a range of them
 */
export function parseStatuses(entries: readonly (number | string)[]): StatusRange[] {
  return entries.map((entry) => {
    const match = /^([1-9]\d\d)(?:-([1-9]\d\d))?$/.exec(String(entry));
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (match !== null && from <= to) return { from, to };
    throw new TypeError(
      `Cannot read statuses: expected ${STATUSES_EXPECTED}, received ${JSON.stringify(entry)}`,
    );
  });
}
