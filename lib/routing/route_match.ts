/** What a route takes, as an operator writes it. */

/** What a request has to be like for a route to take it; all that is given must hold. */
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

/** A request, as far as routes look at it, beside its path. */
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

// What a route asks of a request beside host and path.

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
