/** Rules that make one path of another. */

import type { RequestContext } from "../filter/request_context.ts";
import { pathBelow, prefixSpellings, withoutSlash } from "../routing/rewrite.ts";
import { refuse } from "./refuse.ts";

/** Makes a path or an address of a path; `null` where the rule is not about it. */
export type PathRule = (path: string) => string | null;

/**
 * Compiles a rule.
 *
 * A text stands for itself and all that is below it, segment by segment: `"/api"` is about `/api` and `/api/x`, not
 * about `/apix`. What is below is kept as it is.
 *
 * @param filter who asks, for error messages
 * @throws {TypeError} when a text does not begin with a slash
 */
export function compilePathRule(filter: string, from: string | RegExp, to: string): PathRule {
  if (from instanceof RegExp) {
    return (path) => {
      from.lastIndex = 0;
      if (!from.test(path)) return null;
      from.lastIndex = 0;
      return path.replace(from, to);
    };
  }
  if (typeof from !== "string" || !from.startsWith("/")) {
    throw new TypeError(
      `Cannot make the filter ${filter}: the path must begin with "/", received ${JSON.stringify(from)}`,
    );
  }
  const prefixes = prefixSpellings(from);
  const replacement = withoutSlash(to);
  return (path) => {
    for (const prefix of prefixes) {
      const rest = pathBelow(path, prefix);
      if (rest !== null) return replacement + rest;
    }
    return null;
  };
}

/**
 * The response to a request whose path the rule is not about, though a server might read it so; nothing where there is no
 * doubt. Without it a path could be written so that it passes by a rule that leads away from it.
 */
export function refuseDoubtful(rule: PathRule, { path, otherPaths }: RequestContext): Response | undefined {
  if (otherPaths.every((other) => rule(other) === null) || rule(path) !== null) return;
  return refuse(400, "The path can be read in several ways");
}

/** Path and query of a target; the query with its question mark. */
export function splitTarget(target: string): [path: string, query: string] {
  const query = target.indexOf("?");
  return query < 0 ? [target, ""] : [target.slice(0, query), target.slice(query)];
}
