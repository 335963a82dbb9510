/** Finds the route of a request. */

import {
  isAmbiguous,
  normalEncoding,
  pathReadings,
  resolveSegments,
  segmentReadings,
} from "../http/normal_path.ts";
import { hostnameOf } from "../http/request_target.ts";
import {
  compileConditions,
  type Conditions,
  type HostShape,
  hostShape,
  listOf,
  matchesShape,
  normalPatterns,
  opaquePath,
  type PathMode,
  type PathShape,
  pathShape,
  type RoutedRequest,
  type RouteMatch,
} from "./route_match.ts";

/** The parts of a route that are needed to find it. */
export interface FindableRoute {
  readonly match: RouteMatch;
  readonly paths: PathMode;
  /** Whether the server gets the normal form of the path. */
  readonly normalized: boolean;
  /** Equal for routes that treat requests the same: with the same pools, filters and limits. */
  readonly treatment: number;
  /** Filter sets and limits that requests must pass. */
  readonly guards: readonly unknown[];
}

/** The route for a path that is not plain. */
export interface FoundRoute {
  /** Index of the route; -1 if no route matches. */
  readonly order: number;
  /** Whether the server must get the normal form of the path. */
  readonly normalized: boolean;
  /** Whether a server could read the path as that of a route that treats the request differently. */
  readonly ambiguous: boolean;
}

/** Finds routes, including the routes that a server could read from a path. Compiled once from a list of routes. */
export class RouteFinder {
  readonly #routes: readonly FindableRoute[];
  readonly #all: RouteMatcher;
  /** Matchers of routes that compare the normal form, and of routes that compare raw paths; `null` if there are none. */
  readonly #normal: RouteMatcher | null;
  readonly #raw: RouteMatcher | null;

  /** @throws {TypeError} when a pattern is not a valid `URLPattern` */
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

  /** Index of the first route that matches a request with a plain path; -1 if none matches. */
  find(request: RoutedRequest, path: string): number {
    return this.#all.find(request, path);
  }

  /** Finds the route for any path. */
  findWritten(request: RoutedRequest, path: string): FoundRoute {
    const encoded = normalEncoding(path);
    const normal = resolveSegments(encoded);
    const order = first(this.#normal?.find(request, normal), this.#raw?.find(request, path));
    const route = this.#routes[order];
    if (route?.paths === "raw") return { order, normalized: false, ambiguous: false };
    const readAs = (reading: string) => this.#all.find(request, reading);
    const bypasses = (reading: string) => this.#bypasses(order, readAs(reading));
    // A server that resolves and decodes nothing reads the path as received.
    const normalized = route?.normalized === true || bypasses(path);
    if (!isAmbiguous(encoded)) {
      return {
        order,
        normalized: normalized || (segmentReadings(encoded)?.some(bypasses) ?? true),
        ambiguous: false,
      };
    }
    const isAnother = (reading: string) => this.#routes[readAs(reading)]?.treatment !== route?.treatment;
    return {
      order,
      // The normal form leaves only the ambiguous characters open.
      normalized: normalized || normal !== encoded,
      ambiguous: pathReadings(normal)?.some(isAnother) ?? true,
    };
  }

  /** Whether a request that took one route has bypassed another one, whose path the server reads. */
  #bypasses(order: number, other: number): boolean {
    const [route, bypassed] = [this.#routes[order], this.#routes[other]];
    if (route === undefined || route.treatment === bypassed?.treatment) return false;
    if (bypassed === undefined || other < order) return true;
    return bypassed.guards.some((guard) => !route.guards.includes(guard));
  }
}

/** The smaller index; -1 is no route. */
function first(one = -1, other = -1): number {
  if (one < 0) return other;
  return other < 0 ? one : Math.min(one, other);
}

// Finds the first route of a list that matches a request.

/** A route with a pattern, which must be tested individually. */
interface Trial {
  readonly order: number;
  readonly conditions: Conditions;
  readonly hosts: readonly HostShape[];
  readonly paths: readonly PathShape[];
}

const ANY = [{ kind: "any" }] as const;

/**
 * Matches routes; compiled once from a list of routes. Literal hosts and paths, and everything below such paths, are looked
 * up in indexes. Only other patterns are tested one after the other. The first matching route of the list is used.
 */
export class RouteMatcher {
  readonly #everyHost = new PathIndex();
  readonly #hosts = new Map<string, PathIndex>();
  /** By the suffix of the host, which begins with a dot. */
  readonly #domains = new Map<string, PathIndex>();
  readonly #trials: Trial[] = [];
  #comparesHosts = false;

  /**
   * @param routes `null` for routes that are left out
   * @param isRaw whether a route compares raw paths, and not the normal form
   * @throws {TypeError} when a pattern is not a valid `URLPattern`
   */
  constructor(routes: readonly (RouteMatch | null)[], isRaw: (order: number) => boolean = () => false) {
    routes.forEach((match, order) => {
      if (match !== null) this.#add(match, order, isRaw(order));
    });
  }

  /** Index of the first route that matches the request; -1 if none matches. */
  find(request: RoutedRequest, path: string): number {
    let best = this.#everyHost.find(path, request, Infinity);
    let hostname = "";
    if (this.#comparesHosts) {
      hostname = hostnameOf(request.host);
      const index = this.#hosts.get(hostname);
      if (index !== undefined) best = index.find(path, request, best);
      if (this.#domains.size > 0) best = this.#findDomain(path, hostname, request, best);
    }
    if (this.#trials.length > 0) best = this.#try(path, hostname, request, best);
    return best === Infinity ? -1 : best;
  }

  #findDomain(path: string, hostname: string, request: RoutedRequest, best: number): number {
    let found = best;
    // A host has at most 255 characters, so the number of dots is bounded.
    for (let dot = hostname.indexOf("."); dot >= 0; dot = hostname.indexOf(".", dot + 1)) {
      const index = this.#domains.get(hostname.slice(dot));
      if (index !== undefined) found = index.find(path, request, found);
    }
    return found;
  }

  #add(match: RouteMatch, order: number, raw: boolean): void {
    const hosts = listOf(match.host)?.map(hostShape) ?? ANY;
    const patterns = raw ? listOf(match.path) : listOf(match.path)?.flatMap(normalPatterns);
    const paths = patterns?.map(pathShape) ?? ANY;
    const conditions = compileConditions(match);
    const candidate = { order, conditions };
    this.#comparesHosts ||= hosts.some(({ kind }) => kind !== "any");
    for (const host of hosts) {
      const index = host.kind === "pattern" ? null : this.#indexOf(host);
      const rest = index === null ? paths : paths.filter((path) => !index.add(path, candidate));
      if (rest.length > 0) this.#trials.push({ ...candidate, hosts: [host], paths: rest });
    }
  }

  #indexOf(host: Exclude<HostShape, { kind: "pattern" }>): PathIndex {
    if (host.kind === "any") return this.#everyHost;
    const [indexes, key] = host.kind === "exact" ? [this.#hosts, host.host] : [this.#domains, host.suffix];
    let index = indexes.get(key);
    if (index === undefined) indexes.set(key, index = new PathIndex());
    return index;
  }

  #try(path: string, hostname: string, request: RoutedRequest, best: number): number {
    let opaque: string | null = null;
    for (const { order, conditions, hosts, paths } of this.#trials) {
      if (order >= best) break;
      if (conditions !== null && !conditions(request)) continue;
      if (!hosts.some((host) => matchesHost(host, hostname))) continue;
      for (const shape of paths) {
        if (
          shape.kind === "pattern" ? shape.matches(opaque ??= opaquePath(path)) : matchesShape(shape, path)
        ) {
          return order;
        }
      }
    }
    return best;
  }
}

function matchesHost(shape: HostShape, hostname: string): boolean {
  switch (shape.kind) {
    case "any":
      return true;
    case "exact":
      return hostname === shape.host;
    case "below":
      return hostname.endsWith(shape.suffix);
    case "pattern":
      return shape.matches(hostname);
  }
}

// Finds routes by path without testing them one by one.

/** A route in the index. */
interface Candidate {
  /** Index in the list of the configuration. */
  readonly order: number;
  readonly conditions: Conditions;
}

const SLASH = 0x2f;

/** Routes of one host, by path. The cost of a lookup grows with the segments of the path, not with the number of routes. */
class PathIndex {
  readonly #any: Candidate[] = [];
  readonly #exact = new Map<string, Candidate[]>();
  readonly #below = new Map<string, Candidate[]>();
  /** Most slashes of a key of `#below`: deeper parts of a path need no lookup. */
  #depth = 0;

  /** Adds a route, in the order of the list; `false` if its path is a pattern that cannot be looked up. */
  add(shape: PathShape, candidate: Candidate): boolean {
    switch (shape.kind) {
      case "any":
        this.#any.push(candidate);
        return true;
      case "exact":
        listAt(this.#exact, shape.path).push(candidate);
        return true;
      case "below":
        this.#addBelow(shape.path, candidate);
        return true;
      case "subtree":
        listAt(this.#exact, shape.path).push(candidate);
        this.#addBelow(`${shape.path}/`, candidate);
        return true;
      default:
        return false;
    }
  }

  /** Index of the first matching route before `best`; otherwise `best`. */
  find(path: string, request: RoutedRequest, best: number): number {
    let found = firstOf(this.#any, request, best);
    const exact = this.#exact.get(path);
    if (exact !== undefined) found = firstOf(exact, request, found);
    let end = 0;
    for (let depth = 0; depth < this.#depth; depth++) {
      end = path.indexOf("/", end) + 1;
      if (end === 0) break;
      const below = this.#below.get(path.slice(0, end));
      if (below !== undefined) found = firstOf(below, request, found);
    }
    return found;
  }

  #addBelow(path: string, candidate: Candidate): void {
    listAt(this.#below, path).push(candidate);
    let slashes = 0;
    for (let i = 0; i < path.length; i++) if (path.charCodeAt(i) === SLASH) slashes++;
    this.#depth = Math.max(this.#depth, slashes);
  }
}

function firstOf(candidates: readonly Candidate[], request: RoutedRequest, best: number): number {
  for (const { order, conditions } of candidates) {
    if (order >= best) break;
    if (conditions === null || conditions(request)) return order;
  }
  return best;
}

function listAt(lists: Map<string, Candidate[]>, key: string): Candidate[] {
  let list = lists.get(key);
  if (list === undefined) lists.set(key, list = []);
  return list;
}
