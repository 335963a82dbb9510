/** What a route matches: methods, fields, query, and the shapes of host and path patterns. */

import { normalEncoding, normalPath } from "../http/normal_path.ts";

/** What a route takes, as an operator writes it. */

/**
 * What a request has to be like for a route to take it; all that is given must hold.
 *
 * @example Host, path, method and a field must all fit
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   routes: [{
 *     match: { host: "*.shop.example", path: "/orders/*", method: ["POST", "PUT"], headers: { "x-beta": true } },
 *   }],
 * });
 * ```
 */
export interface RouteMatch {
  /**
   * `URLPattern`s for the host, without port: `"shop.example"`, `"*.shop.example"`; one of them must match.
   *
   * @default {any}
   */
  host?: string | readonly string[];
  /**
   * `URLPattern`s for the path: `"/cart"`, `"/api/*"`, `"/users/:id"`; one of them must match. Which of its spellings are
   * compared is up to {@linkcode PathMode}.
   *
   * @default {any}
   */
  path?: string | readonly string[];
  /** Methods in capitals; one of them must be the request's. @default {any} */
  method?: string | readonly string[];
  /** Fields: their value, a pattern for it, `true` for any value, `false` for none. @default {any} */
  headers?: Readonly<Record<string, string | boolean | RegExp>>;
}

/**
 * How paths are compared with those of routes and filters.
 *
 * - `"normalize"`: in their normal form (RFC 3986 section 6.2.2), with slashes merged, dot segments removed, unreserved
 *   characters decoded and the digits of encodings in capitals: `//admin`, `/./admin`, `/x/../admin` and `/%61dmin` are
 *   `/admin`. What servers read in different ways, such as `%2F`, `%5C`, `\`, `;` and `%00`, is refused with 400 where a
 *   route with other pools, filters or limits could be meant;
 * - `"refuse"`: the same, and 400 for every path that is not in its normal form, or has `%2F`, `%5C`, `\`, `;` or `%00`;
 * - `"raw"`: as they stand in the request line. Segments `.` and `..`, however they are written, are names like any other.
 *   What a server makes of a path may then belong to another route.
 */
export type PathMode = "normalize" | "refuse" | "raw";

/**
 * Which path a server gets: as it was `"received"`, or `"normalized"`, the one that was compared.
 *
 * A path goes in its normal form in any case where a server that resolves it in another way, or not at all, would take it
 * for that of another route, one that stands further up or has other filters or limits: `/admin/../public`,
 * `//host/admin`; and so does one that has to be resolved and has `%2F`, `;` and the like as well.
 */
export type PathForward = "received" | "normalized";

/** The parts of a request that routes compare, except its path. */
export interface RoutedRequest {
  readonly method: string;
  /** The `Host`, with its port if it has one. */
  readonly host: string;
  /** Gives the value of a field by its name in lower case. */
  readonly fields: { get(name: string): string | null };
}

/** One value or several, as several. */
export function listOf<Value>(value: Value | readonly Value[] | undefined): readonly Value[] | null {
  if (value === undefined) return null;
  return Array.isArray(value) ? value : [value as Value];
}

// What a route compares of a request, except host and path.

type FieldTest = (value: string | null) => boolean;

/** Conditions on method and fields; `null` when there are none. */
export type Conditions = ((request: RoutedRequest) => boolean) | null;

/** Makes the test of a route's conditions. */
export function compileConditions({ method, headers = {} }: RouteMatch): Conditions {
  const methods = listOf(method);
  const fields = Object.entries(headers).map(([name, wanted]): [string, FieldTest] => [
    name.toLowerCase(),
    compileField(wanted),
  ]);
  if (methods === null && fields.length === 0) return null;
  return (request) => {
    if (methods !== null && !methods.includes(request.method)) return false;
    for (const [name, test] of fields) {
      if (!test(request.fields.get(name))) return false;
    }
    return true;
  };
}

function compileField(wanted: string | boolean | RegExp): FieldTest {
  if (typeof wanted === "boolean") return (value) => (value !== null) === wanted;
  if (typeof wanted === "string") return (value) => value === wanted;
  // Without the flags by which a pattern remembers where it was.
  const pattern = new RegExp(wanted.source, wanted.flags.replace(/[gy]/g, ""));
  return (value) => value !== null && pattern.test(value);
}

// What kind of pattern a path is: most are texts that can be looked up.

/** A pattern for paths, by what it takes to match it. */
export type PathShape =
  | { readonly kind: "any" }
  | { readonly kind: "exact"; readonly path: string }
  /** Everything that begins with the text, which ends in a slash. */
  | { readonly kind: "below"; readonly path: string }
  /** The text itself, and everything below it. */
  | { readonly kind: "subtree"; readonly path: string }
  /** Everything that begins with the text, wherever a segment ends. */
  | { readonly kind: "prefix"; readonly path: string }
  | { readonly kind: "pattern"; readonly matches: (opaque: string) => boolean };

/** Characters that `URLPattern` neither reads as syntax nor writes in another way. */
const LITERAL = /^[A-Za-z0-9\-._~!$&',;=@%|/]*$/;

/**
 * Reads a pattern.
 *
 * @throws {TypeError} when it is no `URLPattern`
 */
export function pathShape(pattern: string): PathShape {
  if (pattern === "*" || pattern === "/*") return { kind: "any" };
  if (isLiteral(pattern)) return { kind: "exact", path: pattern };
  if (pattern.endsWith("{/*}?") && isLiteral(pattern.slice(0, -5)) && pattern.length > 6) {
    return { kind: "subtree", path: pattern.slice(0, -5) };
  }
  const text = pattern.slice(0, -1);
  // What `/.` begins with is no dot segment, though `URLPattern` takes it for one: `/.*` is `/.git`, not everything.
  if (pattern.endsWith("*") && isLiteral(text.endsWith("/") ? text : `${text}~`)) {
    return { kind: text.endsWith("/") ? "below" : "prefix", path: text };
  }
  const compiled = new URLPattern({ pathname: pattern });
  const beginning = beginningOf(pattern);
  // A pattern costs a hundred times what a look at its beginning does.
  return {
    kind: "pattern",
    matches: (opaque) => opaque.startsWith(beginning) && compiled.test({ pathname: opaque }),
  };
}

/**
 * The pattern for paths in their normal form; also the one with delimiters such as `@` decoded, where it has them
 * encoded, since a path may have them either way.
 */
export function normalPatterns(pattern: string): readonly string[] {
  const syntax = pattern.search(/[*:(){}\\?+]/);
  const text = syntax < 0 ? pattern : pattern.slice(0, syntax);
  // Of the last segment before something that is no text only the beginning is known.
  const whole = syntax < 0 ? text.length : text.lastIndexOf("/") + 1;
  const normal =
    (whole > 0 && text.startsWith("/") ? normalPath(text.slice(0, whole)) : text.slice(0, whole)) +
    pattern.slice(whole).replace(/%[0-9A-Fa-f]{2}/g, normalEncoding);
  const decoded = normal.replace(/%(?:2[146-9A-C]|3[AD]|40)/g, (found) => {
    const character = decodeURIComponent(found);
    return /[*:()+]/.test(character) ? `\\${character}` : character;
  });
  return decoded === normal ? [normal] : [normal, decoded];
}

/** The text that every match begins with; without its last slash, which may belong to an optional group. */
function beginningOf(pattern: string): string {
  let end = 0;
  while (end < pattern.length && LITERAL.test(pattern[end]!)) end++;
  const text = pattern.slice(0, Math.max(0, pattern.lastIndexOf("/", end - 1)));
  return isLiteral(text) ? text : "";
}

function isLiteral(text: string): boolean {
  return text.startsWith("/") && LITERAL.test(text) && !text.split("/").some(isDotSegment);
}

/** Whether a path matches, asked one by one; what the index does for many at once. */
export function matchesShape(shape: PathShape, path: string): boolean {
  switch (shape.kind) {
    case "any":
      return true;
    case "exact":
      return path === shape.path;
    case "below":
    case "prefix":
      return path.startsWith(shape.path);
    case "subtree":
      return path.startsWith(shape.path) &&
        (path.length === shape.path.length || path.charCodeAt(shape.path.length) === 0x2f);
    case "pattern":
      return shape.matches(opaquePath(path));
  }
}

// Paths as `URLPattern` must be given them, so that it sees what a server is going to see.

/**
 * Protects a path from being normalised.
 *
 * `URLPattern` takes `\` for `/` and resolves `.` and `..`, also as `%2e`: `/public/%2e%2e/admin` would match
 * `/admin`, while the server gets the former. A tilde makes a name of such a segment.
 */
export function opaquePath(path: string): string {
  let safe = path;
  if (safe.indexOf("\\") >= 0) safe = safe.replaceAll("\\", "%5C");
  if (safe.indexOf("/.") < 0 && safe.indexOf("/%2") < 0) return safe;
  return safe.split("/").map((segment) => isDotSegment(segment) ? `${segment}~` : segment).join("/");
}

/** Whether a segment is `.` or `..`, or either of them encoded (URL standard, "single-dot URL path segment"). */
function isDotSegment(segment: string): boolean {
  if (segment === "." || segment === "..") return true;
  if (segment.length < 3 || segment.length > 6 || segment.indexOf("%") < 0) return false;
  const decoded = segment.replaceAll(/%2e/gi, ".");
  return decoded === "." || decoded === "..";
}

// What kind of pattern a host is.

/** A pattern for hosts, by what it takes to match it. */
export type HostShape =
  | { readonly kind: "any" }
  | { readonly kind: "exact"; readonly host: string }
  /** Everything that ends in the text, which begins with a dot. */
  | { readonly kind: "below"; readonly suffix: string }
  | { readonly kind: "pattern"; readonly matches: (hostname: string) => boolean };

const HOST_LITERAL = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/**
 * Reads a pattern.
 *
 * @throws {TypeError} when it is no `URLPattern`
 */
export function hostShape(pattern: string): HostShape {
  if (pattern === "*") return { kind: "any" };
  const host = pattern.toLowerCase();
  if (HOST_LITERAL.test(host) || /^\[[0-9a-f:.]+\]$/.test(host)) return { kind: "exact", host };
  if (host.startsWith("*.") && HOST_LITERAL.test(host.slice(2))) {
    return { kind: "below", suffix: host.slice(1) };
  }
  const compiled = new URLPattern({ hostname: pattern });
  return { kind: "pattern", matches: (hostname) => compiled.test({ hostname }) };
}
