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
   * `URLPattern`s for the path as the client sent it, neither decoded nor normalised: `"/cart"`, `"/api/*"`,
   * `"/users/:id"`; one of them must match. Segments `.` and `..`, however they are written, are names like any other.
   *
   * @default {any}
   */
  path?: string | readonly string[];
  /** Methods in capitals; one of them must be the request's. @default {any} */
  method?: string | readonly string[];
  /** Fields: their value, a pattern for it, `true` for any value, `false` for none. @default {any} */
  headers?: Readonly<Record<string, string | boolean | RegExp>>;
}

/** A request, as far as routes look at it. */
export interface RoutedRequest {
  readonly method: string;
  /** The `Host`, with its port if it has one. */
  readonly host: string;
  /** Path and query as they stand in the request line. */
  readonly target: string;
  /** Gives the value of a field by its name in lower case. */
  readonly fields: { get(name: string): string | null };
}

/** One value or several, as several. */
export function listOf<Value>(value: Value | readonly Value[] | undefined): readonly Value[] | null {
  if (value === undefined) return null;
  return Array.isArray(value) ? value : [value as Value];
}
