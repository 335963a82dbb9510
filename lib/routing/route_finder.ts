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

// Finds the first route of a list that takes a request.

/** A route that has to be tried by itself. */
interface Trial {
  readonly order: number;
  readonly conditions: Conditions;
  readonly hosts: readonly HostShape[];
  readonly paths: readonly PathShape[];
}

const ANY = [{ kind: "any" }] as const;

/**
 * Compiled once from a list of routes. Hosts and paths that are plain texts, and what is below such paths, are looked
 * up; only other patterns are tried one after the other. The order of the list decides all the same.
 */
export class RouteMatcher {
  readonly #everyHost = new PathIndex();
  readonly #hosts = new Map<string, PathIndex>();
  /** By what the host ends in, from a dot on. */
  readonly #domains = new Map<string, PathIndex>();
  readonly #trials: Trial[] = [];
  #looksAtHosts = false;

  /**
   * @param routes `null` for those that take nothing
   * @param isRaw which of them are given paths as they stand, where others are given the normal form
   * @throws {TypeError} when a pattern is no `URLPattern`
   */
  constructor(routes: readonly (RouteMatch | null)[], isRaw: (order: number) => boolean = () => false) {
    routes.forEach((match, order) => {
      if (match !== null) this.#add(match, order, isRaw(order));
    });
  }

  /** The place in the list of the first route that takes the request; -1 when none does. */
  find(request: RoutedRequest, path: string): number {
    let best = this.#everyHost.find(path, request, Infinity);
    let hostname = "";
    if (this.#looksAtHosts) {
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
    // A host has 255 characters at most, and so a bounded number of dots.
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
    this.#looksAtHosts ||= hosts.some(({ kind }) => kind !== "any");
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

// Finds routes by their path without trying them one by one.

/** A route, as the index knows it. */
interface Candidate {
  /** Place in the configuration's list. */
  readonly order: number;
  readonly conditions: Conditions;
}

const SLASH = 0x2f;

/** Routes of one host, by path; each lookup costs as much as the path has segments, whatever the number of routes. */
class PathIndex {
  readonly #any: Candidate[] = [];
  readonly #exact = new Map<string, Candidate[]>();
  readonly #below = new Map<string, Candidate[]>();
  /** How many slashes the deepest text of `#below` has: no path is looked at deeper than that. */
  #depth = 0;

  /** Takes a route in, in the order of the list; `false` when its path is nothing that can be looked up. */
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

  /** The first route that takes the request, if it stands before `best`; otherwise `best`. */
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
