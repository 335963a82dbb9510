/** Finds what somebody meant who misspelt a name. */

/** Share of a name's characters that may be wrong. */
const TOLERANCE = 0.34;

/** Counts the insertions, deletions, substitutions and swaps of neighbours that turn one text into the other. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = a[i - 1] === b[j - 1] ? 0 : 1;
      let distance = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + changed);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, beforeLast[j - 2]! + 1);
      }
      row.push(distance);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/** Case and separators are the likeliest mistakes (`health_check`, `Listen`), so they count for nothing. */
export function normalizeName(name: string): string {
  return name.replaceAll(/[-_]/g, "").toLowerCase();
}

/** Whether somebody stopped too early: `host` for `hostname`. */
function isAbbreviation(short: string, long: string): boolean {
  return short.length >= 4 && short.length < long.length && long.startsWith(short);
}

/** Returns the one of `names` that `name` is a likely misspelling of, or `undefined`. */
export function nearestName(name: string, names: Iterable<string>): string | undefined {
  const wanted = normalizeName(name);
  let nearest: string | undefined;
  let least = Infinity;
  for (const candidate of names) {
    const other = normalizeName(candidate);
    const distance = isAbbreviation(wanted, other) ? 1 : editDistance(wanted, other);
    const tolerated = Math.max(1, Math.floor(Math.max(wanted.length, other.length) * TOLERANCE));
    if (distance <= tolerated && distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}
