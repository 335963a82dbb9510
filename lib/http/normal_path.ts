/** Paths in the one form in which they are compared (RFC 3986 section 6.2.2), and the other ways of reading them. */

/** What paths have that can be written, or read, in another way. */
const MARKED = /[^A-Za-z0-9\-._~!$&'()*+,=:@/]|\/[/.]/;

/** What servers read in different ways when it is encoded: `/ \ ; NUL` and the delimiters of RFC 3986, and `;` itself. */
const AMBIGUOUS = /;|%(?:00|2[146-9A-CF]|3[ABD]|40|5C)/;

/** More ways of reading a path than this are no accident. */
const MAX_READINGS = 64;
/** And longer ones, taken together, are not looked at: looking costs time, which clients could make use of. */
const MAX_CHARACTERS = 128 * 1024;

/**
 * Writes every character of a path in one way: unreserved ones decoded, others that cannot stand in a path encoded, the
 * digits of encodings in capitals, and a `%` that begins none as `%25`. Segments stay as they are.
 */
export function normalEncoding(path: string): string {
  return path.replace(/%(?:[0-9A-Fa-f]{2})?|[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]/gu, inOneWay);
}

function inOneWay(found: string): string {
  if (found === "%") return "%25";
  if (found.length < 3) return encodeURIComponent(found.toWellFormed());
  const character = String.fromCharCode(parseInt(found.slice(1), 16));
  return /[A-Za-z0-9\-._~]/.test(character) ? character : found.toUpperCase();
}

/** Merges slashes, and removes the segments `.` and `..` after that, as nginx does; what leads above the root ends there. */
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

/** The form in which paths are compared; that of a path in this form is the path itself. */
export function normalPath(path: string): string {
  return resolveSegments(normalEncoding(path));
}

/**
 * The path by which requests are counted: one for everything that a server may take for the same.
 *
 * Different paths may have the same one (`/a%2Fb` and `/a/b`), which a server tells apart or not.
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

/** Removes the segments `.` and `..` without looking at slashes (RFC 3986 section 5.2.4). */
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

/** How servers differ about segments: they resolve them or not, before or after slashes, or read a host in the first. */
const SEGMENT_RULES: readonly Rule[] = [withoutDots, withMergedSlashes, withoutAuthority];
/** How they differ beside that: what they decode, and what they take for a separator or an end. */
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

/** Whether a path whose encoding is normal has anything, beside its segments, that servers read in different ways. */
export function isAmbiguous(path: string): boolean {
  return AMBIGUOUS.test(path);
}

/**
 * Where servers that resolve segments in different ways, or not at all, may find a path whose encoding is normal; `null`
 * for too many. Segments `.` and slashes that are merged or not lead nowhere else.
 */
export function segmentReadings(path: string): readonly string[] | null {
  if (!path.startsWith("//") && !/\/\.\.(?:\/|$)/.test(path)) return [];
  const found = readings(path.replace(/(?:\/\.)+\/|\/\.$/g, "/"), SEGMENT_RULES);
  return found && [...new Set(found.map(withMergedSlashes))];
}

/** All ways in which servers read a path whose encoding is normal, the path itself first; `null` for too many. */
export function pathReadings(path: string): readonly string[] | null {
  if (isAmbiguous(path)) return readings(path, ALL_RULES);
  return /\/[/.]/.test(path) ? readings(path, SEGMENT_RULES) : [path];
}

/** Everything that the rules make of a path, in any order: no two servers decode, split and resolve in the same one. */
function readings(path: string, rules: readonly Rule[]): readonly string[] | null {
  const found = new Set([path]);
  let characters = path.length;
  // A set gives out what is added while it is gone through.
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
