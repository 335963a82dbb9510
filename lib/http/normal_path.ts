/**
 * Paths in the normal form in which they are compared (RFC 3986 section 6.2.2), and other ways in which servers read
 * them.
 */

/** Parts of a path that can be written, or read, in another way. */
const MARKED = /[^A-Za-z0-9\-._~!$&'()*+,=:@/]|\/[/.]/;

/** What servers read in different ways: `/ \ ; NUL` and the delimiters of RFC 3986 when encoded, and `;` itself. */
const AMBIGUOUS = /;|%(?:00|2[146-9A-CF]|3[ABD]|40|5C)/;

/** A path with more ways of reading than this is no accident. */
const MAX_READINGS = 64;
/** More characters than this, of all readings together, are not checked: a client could make the proxy spend time. */
const MAX_CHARACTERS = 128 * 1024;

/**
 * Writes every character of a path in one way: unreserved characters are decoded, characters that are not allowed in
 * a path are encoded, hexadecimal digits become upper case, and a `%` that begins no encoding becomes `%25`. Segments
 * stay as they are.
 */
export function normalEncoding(path: string): string {
  return path.replace(/%(?:[0-9A-Fa-f]{2})?|[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]/gu, normalizeMatch);
}

function normalizeMatch(found: string): string {
  if (found === "%") return "%25";
  if (found.length < 3) return encodeURIComponent(found.toWellFormed());
  const character = String.fromCharCode(parseInt(found.slice(1), 16));
  return /[A-Za-z0-9\-._~]/.test(character) ? character : found.toUpperCase();
}

/** Merges slashes, then removes the segments `.` and `..`, as nginx does; a `..` above the root is dropped. */
export function resolveSegments(path: string): string {
  if (!/\/[/.]/.test(path)) return path;
  const segments = path.split("/");
  const last = segments.at(-1)!;
  const kept: string[] = [];
  for (const segment of segments) {
    if (segment === "..") kept.pop();
    else if (segment !== "" && segment !== ".") kept.push(segment);
  }
  const open = kept.length > 0 && (last === "" || last === "." || last === "..");
  return `/${kept.join("/")}${open ? "/" : ""}`;
}

/** The normal form in which paths are compared; a path in this form stays as it is. */
export function normalPath(path: string): string {
  return resolveSegments(normalEncoding(path));
}

/**
 * The path by which requests are counted: the same for all paths that a server may treat as the same.
 *
 * Some servers distinguish paths that have the same result here (`/a%2Fb` and `/a/b`).
 */
export function countedPath(path: string): string {
  if (!MARKED.test(path)) return path;
  let read = withoutAuthority(normalEncoding(path));
  for (const rule of [beforeNul, withDelimiters, withSemicolons, withoutParameters, withSlashes]) {
    read = rule(read);
  }
  return resolveSegments(read.replaceAll("%5C", "/"));
}

type Rule = (path: string) => string;

const withoutAuthority: Rule = (path) => path.startsWith("//") ? path.replace(/^\/+[^/]*/, "") || "/" : path;
const withMergedSlashes: Rule = (path) => path.replace(/\/{2,}/g, "/");
const beforeNul: Rule = (path) => path.includes("%00") ? path.slice(0, path.indexOf("%00")) || "/" : path;
const withoutNul: Rule = (path) => path.replaceAll("%00", "");
const withSlashes: Rule = (path) => path.replaceAll("%2F", "/");
const withBackslashes: Rule = (path) => path.replaceAll("%5C", "/");
const withSemicolons: Rule = (path) => path.replaceAll("%3B", ";");
const withoutParameters: Rule = (path) => path.replace(/;[^/]*/g, "");
const withDelimiters: Rule = (path) => path.replace(/%(?:2[146-9A-C]|3[AD]|40)/g, decodeURIComponent);

/** Removes the segments `.` and `..` without merging slashes (RFC 3986 section 5.2.4). */
const withoutDots: Rule = (path) => {
  if (!path.includes("/.")) return path;
  const segments = path.split("/");
  const last = segments.at(-1)!;
  const kept: string[] = [];
  for (const segment of segments.slice(1)) {
    if (segment === "..") kept.pop();
    else if (segment !== ".") kept.push(segment);
  }
  return `/${kept.join("/")}${kept.length > 0 && (last === "." || last === "..") ? "/" : ""}`;
};

/**
 * How servers differ in segments: they resolve them or not, before or after merging slashes, or read a host in the
 * first.
 */
const SEGMENT_RULES: readonly Rule[] = [withoutDots, withMergedSlashes, withoutAuthority];
/** The other differences: what they decode, and what they treat as a separator or an end. */
const ALL_RULES: readonly Rule[] = [
  ...SEGMENT_RULES,
  withSlashes,
  withBackslashes,
  withSemicolons,
  withoutParameters,
  beforeNul,
  withoutNul,
  withDelimiters,
];

/** Whether a path in normal encoding has anything, other than its segments, that servers read in different ways. */
export function isAmbiguous(path: string): boolean {
  return AMBIGUOUS.test(path);
}

/**
 * The paths that servers may see in a path in normal encoding, as they resolve segments in different ways or not at
 * all; `null` for too many. Segments `.` and merged slashes are no difference.
 */
export function segmentReadings(path: string): readonly string[] | null {
  if (!path.startsWith("//") && !/\/\.\.(?:\/|$)/.test(path)) return [];
  const found = readings(path.replace(/(?:\/\.)+\/|\/\.$/g, "/"), SEGMENT_RULES);
  return found && [...new Set(found.map(withMergedSlashes))];
}

/** All ways in which servers read a path in normal encoding, the path itself first; `null` for too many. */
export function pathReadings(path: string): readonly string[] | null {
  if (isAmbiguous(path)) return readings(path, ALL_RULES);
  return /\/[/.]/.test(path) ? readings(path, SEGMENT_RULES) : [path];
}

/** All results of the rules, applied in every order: no two servers decode, split and resolve in the same order. */
function readings(path: string, rules: readonly Rule[]): readonly string[] | null {
  const found = new Set([path]);
  let characters = path.length;
  // Iterating a set also visits what is added meanwhile.
  for (const each of found) {
    for (const rule of rules) {
      const made = rule(each);
      if (found.has(made)) continue;
      characters += made.length;
      if (found.size === MAX_READINGS || characters > MAX_CHARACTERS) return null;
      found.add(made);
    }
  }
  return [...found];
}
