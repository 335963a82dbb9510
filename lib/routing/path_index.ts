/** Finds routes by their path without trying them one by one. */

import type { Conditions } from "./conditions.ts";
import type { PathShape } from "./path_shape.ts";
import type { RoutedRequest } from "./route_match.ts";

/** A route, as the index knows it. */
interface Candidate {
  /** Place in the configuration's list. */
  readonly order: number;
  readonly conditions: Conditions;
}

const SLASH = 0x2f;

/** Routes of one host, by path; each lookup costs as much as the path has segments, whatever the number of routes. */
export class PathIndex {
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
