/** Finds the first route of a list that takes a request. */

import { hostnameOf } from "../http/request_target.ts";
import {
  type HostShape,
  hostShape,
  matchesShape,
  normalPatterns,
  opaquePath,
  type PathShape,
  pathShape,
} from "./path_shape.ts";
import {
  compileConditions,
  type Conditions,
  listOf,
  type RoutedRequest,
  type RouteMatch,
} from "./route_match.ts";

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
    let found = first(this.#any, request, best);
    const exact = this.#exact.get(path);
    if (exact !== undefined) found = first(exact, request, found);
    let end = 0;
    for (let depth = 0; depth < this.#depth; depth++) {
      end = path.indexOf("/", end) + 1;
      if (end === 0) break;
      const below = this.#below.get(path.slice(0, end));
      if (below !== undefined) found = first(below, request, found);
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

function first(candidates: readonly Candidate[], request: RoutedRequest, best: number): number {
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
