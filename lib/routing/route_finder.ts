/** Finds the route of a request whose path can be written, or read, in several ways. */

import {
  isAmbiguous,
  normalEncoding,
  pathReadings,
  resolveSegments,
  segmentReadings,
} from "../http/normal_path.ts";
import type { PathMode, RoutedRequest, RouteMatch } from "./route_match.ts";
import { RouteMatcher } from "./route_matcher.ts";

/** A route, as far as it has to be found. */
export interface FindableRoute {
  readonly match: RouteMatch;
  readonly paths: PathMode;
  /** Whether the server gets the normal form of the path. */
  readonly normalized: boolean;
  /** The same for routes that make no difference to a request: same pools, filters and limits. */
  readonly treatment: number;
  /** Filter sets and limits that requests have to pass. */
  readonly guards: readonly unknown[];
}

/** What is found for a path that is not plain. */
export interface FoundRoute {
  /** The place in the list; -1 when no route takes the request. */
  readonly order: number;
  /** Whether the server must get the normal form of the path. */
  readonly normalized: boolean;
  /** Whether a route could be meant that treats the request in another way. */
  readonly ambiguous: boolean;
}

/** Compiled once from a list of routes. */
export class RouteFinder {
  readonly #routes: readonly FindableRoute[];
  readonly #all: RouteMatcher;
  /** Those that are given the normal form, and those that are given paths as they stand; `null` where there are none. */
  readonly #normal: RouteMatcher | null;
  readonly #raw: RouteMatcher | null;

  /** @throws {TypeError} when a pattern is no `URLPattern` */
  constructor(routes: readonly FindableRoute[]) {
    this.#routes = routes;
    const isRaw = (order: number) => routes[order]!.paths === "raw";
    this.#all = new RouteMatcher(routes.map(({ match }) => match), isRaw);
    const only = (raw: boolean): RouteMatcher | null => {
      const those = routes.map(({ match }, order) => isRaw(order) === raw ? match : null);
      if (!those.includes(null)) return this.#all;
      return those.every((match) => match === null) ? null : new RouteMatcher(those, isRaw);
    };
    this.#normal = only(false);
    this.#raw = only(true);
  }

  /** The place in the list of the first route that takes a request with a plain path; -1 when none does. */
  find(request: RoutedRequest, path: string): number {
    return this.#all.find(request, path);
  }

  /** The same for any path. */
  findWritten(request: RoutedRequest, path: string): FoundRoute {
    const encoded = normalEncoding(path);
    const normal = resolveSegments(encoded);
    const order = first(this.#normal?.find(request, normal), this.#raw?.find(request, path));
    const route = this.#routes[order];
    if (route?.paths === "raw") return { order, normalized: false, ambiguous: false };
    const readAs = (reading: string) => this.#all.find(request, reading);
    const evades = (reading: string) => this.#evades(order, readAs(reading));
    // A server that neither resolves nor decodes anything reads the path as it stands.
    const normalized = route?.normalized === true || evades(path);
    if (!isAmbiguous(encoded)) {
      return {
        order,
        normalized: normalized || (segmentReadings(encoded)?.some(evades) ?? true),
        ambiguous: false,
      };
    }
    const isAnother = (reading: string) => this.#routes[readAs(reading)]?.treatment !== route?.treatment;
    return {
      order,
      // So that only one thing is in doubt.
      normalized: normalized || normal !== encoded,
      ambiguous: pathReadings(normal)?.some(isAnother) ?? true,
    };
  }

  /** Whether what has gone the way of one route has evaded another, which it seems to belong to where it arrives. */
  #evades(order: number, other: number): boolean {
    const [route, evaded] = [this.#routes[order], this.#routes[other]];
    if (route === undefined || route.treatment === evaded?.treatment) return false;
    if (evaded === undefined || other < order) return true;
    return evaded.guards.some((guard) => !route.guards.includes(guard));
  }
}

/** The one that stands before the other. */
function first(one = -1, other = -1): number {
  if (one < 0) return other;
  return other < 0 ? one : Math.min(one, other);
}
