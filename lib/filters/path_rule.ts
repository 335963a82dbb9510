/** Rules that make one path of another. */

/** Makes a path or an address of a raw path; `null` where the rule is not about it. */
export type PathRule = (path: string) => string | null;

/**
 * Compiles a rule.
 *
 * A text stands for itself and all that is below it, segment by segment: `"/api"` is about `/api` and `/api/x`, not
 * about `/apix`. What is below is kept as it is. Nothing is decoded: `/%61pi` is another path.
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
  const prefix = withoutSlash(from);
  const replacement = withoutSlash(to);
  return (path) => {
    if (!path.startsWith(prefix)) return null;
    const rest = path.slice(prefix.length);
    if (rest !== "" && !rest.startsWith("/")) return null;
    return replacement + rest;
  };
}

/** Path and query of a target; the query with its question mark. */
export function splitTarget(target: string): [path: string, query: string] {
  const query = target.indexOf("?");
  return query < 0 ? [target, ""] : [target.slice(0, query), target.slice(query)];
}

function withoutSlash(text: string): string {
  return text.endsWith("/") ? text.slice(0, -1) : text;
}
