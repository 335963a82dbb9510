/** Parts of error messages: descriptions of values, and the known name nearest to a wrong one. */

const MAX_CHARS = 60;

/**
 * Describes a value so that its author recognises it, without secrets: PEM texts and passwords in addresses are not
 * shown.
 */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case "string":
      return describeText(value);
    case "function":
      return "a function";
    case "symbol":
      return "a symbol";
    case "bigint":
      return `${value}n`;
    case "object":
      return describeObject(value);
    default:
      return String(value);
  }
}

/** Describes the kind of a value without its content, for secrets. */
export function describeKind(value: unknown): string {
  if (typeof value !== "string") return describeValue(value);
  return value === "" ? "an empty string" : `a string of ${value.length} characters`;
}

function describeText(text: string): string {
  if (text.includes("-----BEGIN")) return "PEM text";
  // A password that is not encoded may have "@" and "/" in it.
  const shown = text.replace(/\/\/(?:[^/@:]*:.*|[^/@]*)@/, "//***@");
  return JSON.stringify(shown.length > MAX_CHARS ? `${shown.slice(0, MAX_CHARS)}...` : shown);
}

function describeObject(value: object | null): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  if (value instanceof Promise) return 'a promise (an "await" is missing)';
  const name: unknown = Object.getPrototypeOf(value)?.constructor?.name;
  if (typeof name !== "string" || name === "" || name === "Object") return "an object";
  return `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`;
}

// Suggestions for misspelt names.

/** Share of a name's characters that may be wrong. */
const TOLERANCE = 0.34;

/** Counts the insertions, deletions, substitutions and swaps of neighbours between two texts. */
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

/** Ignores case and separators, the most likely mistakes (`health_check`, `Listen`). */
export function normalizeName(name: string): string {
  return name.replaceAll(/[-_]/g, "").toLowerCase();
}

/** Whether a name is the beginning of another: `host` for `hostname`. */
function isAbbreviation(short: string, long: string): boolean {
  return short.length >= 4 && short.length < long.length && long.startsWith(short);
}

/** Returns the entry of `names` that `name` probably means, or `undefined`. */
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
