/** Conditions of routes: methods, fields, and the kinds of host and path patterns. */

import { normalEncoding, normalPath } from "../http/normal_path.ts";

/**
 * The conditions of a route. A request must fulfil all that are given.
 *
 * @example Match host, path, method and a field
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
   * `URLPattern`s for the path: `"/cart"`, `"/api/*"`, `"/users/:id"`; one of them must match. {@linkcode PathMode} says
   * which form of the path is compared.
   *
   * @default {any}
   */
  path?: string | readonly string[];
  /** Methods in capitals; one of them must match. @default {any} */
  method?: string | readonly string[];
  /** Fields by name: the value, a pattern for it, `true` for any value, `false` for a missing field. @default {any} */
  headers?: Readonly<Record<string, string | boolean | RegExp>>;
}

/**
 * The form of paths that routes and filters compare.
 *
 * - `"normalize"`: the normal form (RFC 3986 section 6.2.2), with slashes merged, dot segments removed, unreserved
 *   characters decoded and the digits of encodings in capitals: `//admin`, `/./admin`, `/x/../admin` and `/%61dmin` are
 *   `/admin`. A path with `%2F`, `%5C`, `\`, `;`, `%00` and the like, which servers read in different ways, is refused with
 *   400 if a server could read it as that of a route with other pools, filters or limits;
 * - `"refuse"`: the same, and 400 for every path that is not in its normal form, or has `%2F`, `%5C`, `\`, `;` or `%00`;
 * - `"raw"`: the path as in the request line. Segments `.` and `..`, encoded or not, are ordinary names. A server may read
 *   the path as that of another route.
 */
export type PathMode = "normalize" | "refuse" | "raw";

/**
 * Which path a server gets: as `"received"`, or `"normalized"`, in the form that was compared.
 *
 * A path is always forwarded in its normal form if a server that resolves it differently, or not at all, would read it as
 * that of another route that is earlier in the list or has other filters or limits: `/admin/../public`, `//host/admin`. The
 * same applies to a path that must be resolved and also contains `%2F`, `;` and the like.
 */
export type PathForward = "received" | "normalized";

/** The parts of a request that routes compare, except its path. */
export interface RoutedRequest {
  readonly method: string;
  /** The `Host`, with its port if it has one. */
  readonly host: string;
  /** Fields; `get` takes a name in lower case. */
  readonly fields: { get(name: string): string | null };
}

/** Makes a list of one value or several; `null` for none. */
export function listOf<Value>(value: Value | readonly Value[] | undefined): readonly Value[] | null {
  if (value === undefined) return null;
  return Array.isArray(value) ? value : [value as Value];
}

// Conditions on method and fields.

type FieldTest = (value: string | null) => boolean;

/** Conditions on method and fields; `null` when there are none. */
export type Conditions = ((request: RoutedRequest) => boolean) | null;

/** Compiles the conditions on method and fields. */
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
  // Without the flags g and y, with which a pattern would continue after its last match.
  const pattern = new RegExp(wanted.source, wanted.flags.replace(/[gy]/g, ""));
  return (value) => value !== null && pattern.test(value);
}

// Kinds of path patterns: most are literal and can be looked up.

/** A pattern for paths, by the way to match it. */
export type PathShape =
  | { readonly kind: "any" }
  | { readonly kind: "exact"; readonly path: string }
  /** All paths that begin with the text, which ends in a slash. */
  | { readonly kind: "below"; readonly path: string }
  /** The path itself, and all paths below it. */
  | { readonly kind: "subtree"; readonly path: string }
  /** All paths that begin with the text, also within a segment. */
  | { readonly kind: "prefix"; readonly path: string }
  | { readonly kind: "pattern"; readonly matches: (opaque: string) => boolean };

/** Characters that `URLPattern` neither treats as syntax nor changes. */
const LITERAL = /^[A-Za-z0-9\-._~!$&',;=@%|/]*$/;

/**
 * Parses a path pattern.
 *
 * @throws {TypeError} when it is not a valid `URLPattern`
 */
export function pathShape(pattern: string): PathShape {
  if (pattern === "*" || pattern === "/*") return { kind: "any" };
  if (isLiteral(pattern)) return { kind: "exact", path: pattern };
  if (pattern.endsWith("{/*}?") && isLiteral(pattern.slice(0, -5)) && pattern.length > 6) {
    return { kind: "subtree", path: pattern.slice(0, -5) };
  }
  const text = pattern.slice(0, -1);
  // In `/.*`, `/.` is the start of a name such as `.git`, but `URLPattern` would remove it as a dot segment.
  if (pattern.endsWith("*") && isLiteral(text.endsWith("/") ? text : `${text}~`)) {
    return { kind: text.endsWith("/") ? "below" : "prefix", path: text };
  }
  const compiled = new URLPattern({ pathname: pattern });
  const beginning = beginningOf(pattern);
  // The test of a pattern costs a hundred times the comparison of its beginning.
  return {
    kind: "pattern",
    matches: (opaque) => opaque.startsWith(beginning) && compiled.test({ pathname: opaque }),
  };
}

/**
 * The pattern for paths in their normal form. If the pattern has encoded delimiters such as `@`, also a pattern with these
 * decoded, because a path may have either form.
 */
export function normalPatterns(pattern: string): readonly string[] {
  const syntax = pattern.search(/[*:(){}\\?+]/);
  const text = syntax < 0 ? pattern : pattern.slice(0, syntax);
  // The last segment before a variable part is known only in part, so it is not normalised.
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

/** The literal beginning of every match, without its last slash, which may belong to an optional group. */
function beginningOf(pattern: string): string {
  let end = 0;
  while (end < pattern.length && LITERAL.test(pattern[end]!)) end++;
  const text = pattern.slice(0, Math.max(0, pattern.lastIndexOf("/", end - 1)));
  return isLiteral(text) ? text : "";
}

function isLiteral(text: string): boolean {
  return text.startsWith("/") && LITERAL.test(text) && !text.split("/").some(isDotSegment);
}

/** Whether a path matches one shape; the index does the same for many at once. */
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

// Paths for `URLPattern`, protected so that it compares what the server will get.

/**
 * Protects a path from normalisation by `URLPattern`.
 *
 * `URLPattern` treats `\` as `/` and resolves `.` and `..`, also as `%2e`: `/public/%2e%2e/admin` would match `/admin`,
 * while the server gets the former. A tilde makes such a segment an ordinary name.
 */
export function opaquePath(path: string): string {
  let safe = path;
  if (safe.indexOf("\\") >= 0) safe = safe.replaceAll("\\", "%5C");
  if (safe.indexOf("/.") < 0 && safe.indexOf("/%2") < 0) return safe;
  return safe.split("/").map((segment) => isDotSegment(segment) ? `${segment}~` : segment).join("/");
}

/** Whether a segment is `.` or `..`, also encoded (URL standard, "single-dot URL path segment"). */
function isDotSegment(segment: string): boolean {
  if (segment === "." || segment === "..") return true;
  if (segment.length < 3 || segment.length > 6 || segment.indexOf("%") < 0) return false;
  const decoded = segment.replaceAll(/%2e/gi, ".");
  return decoded === "." || decoded === "..";
}

// Kinds of host patterns.

/** A pattern for hosts, by the way to match it. */
export type HostShape =
  | { readonly kind: "any" }
  | { readonly kind: "exact"; readonly host: string }
  /** All hosts that end with the text, which begins with a dot. */
  | { readonly kind: "below"; readonly suffix: string }
  | { readonly kind: "pattern"; readonly matches: (hostname: string) => boolean };

const HOST_LITERAL = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/**
 * Parses a host pattern.
 *
 * @throws {TypeError} when it is not a valid `URLPattern`
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
