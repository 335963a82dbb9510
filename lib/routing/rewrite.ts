/** What becomes of a target on its way to a server. */

import { normalPath } from "../http/normal_path.ts";
import { asciiTarget } from "../http/request_target.ts";

/**
 * Changes of the path, in this order; the query stays as it is. All of them see the path in the form in which the route
 * compares it (`paths`), and bytes above 0x7F percent-encoded. What they make begins with one slash. A path that they do
 * not change goes on as it came.
 */
export interface RewriteOptions {
  /** Removed from a path that begins with it, whole segments only: with `"/api"` the path `/api/users` becomes `/users`. @default {none} */
  stripPrefix?: string;
  /**
   * What to replace, and with what: the first occurrence of a text, or the matches of a regular expression, as
   * `String.replace` does.
   *
   * @default {none}
   */
  replace?: readonly [pattern: string | RegExp, replacement: string];
  /** Put in front of the result: `"/v2"`. @default {none} */
  prefix?: string;
}

/**
 * The target that a server gets in place of the client's: path and query. It is given the path in the form in which the
 * route compares it.
 */
export type RewriteFunction<Ctx> = (target: string, ctx: Ctx) => string;

/** Makes the function that rewrites. */
export function compileRewrite<Ctx>(
  rewrite: RewriteOptions | RewriteFunction<Ctx>,
): RewriteFunction<Ctx> {
  if (typeof rewrite === "function") return rewrite;
  const { stripPrefix = "", replace, prefix = "" } = rewrite;
  const strips = stripPrefix === "" ? [] : prefixSpellings(stripPrefix);
  const front = withoutSlash(prefix);
  return (target) => {
    const query = target.indexOf("?");
    const asked = query < 0 ? target : target.slice(0, query);
    let path = asked;
    for (const strip of strips) {
      const below = pathBelow(path, strip);
      if (below === null) continue;
      path = below === "" ? "/" : below;
      break;
    }
    if (replace !== undefined) {
      const [pattern, by] = replace;
      path = typeof pattern === "string" ? path.replace(pattern, () => by) : path.replace(pattern, by);
    }
    if (path === asked) return front === "" ? target : front + target;
    // One slash, whatever clients ask for: without it it would be no path, and with more a server may read a host in it.
    path = front + path.replace(/^[/\\]*/, "/");
    return query < 0 ? path : path + target.slice(query);
  };
}

/** What is below a prefix without a slash at its end, `""` for the prefix itself; `null` for other paths. */
export function pathBelow(path: string, prefix: string): string | null {
  if (!path.startsWith(prefix)) return null;
  return path.length === prefix.length || path[prefix.length] === "/" ? path.slice(prefix.length) : null;
}

/** A prefix as it is written, and in its normal form: paths that it is compared with may be in either. */
export function prefixSpellings(prefix: string): readonly string[] {
  const written = withoutSlash(asciiTarget(prefix));
  const normal = withoutSlash(normalPath(prefix));
  return written === normal ? [written] : [written, normal];
}

/** A text without the slash at its end. */
export function withoutSlash(text: string): string {
  return text.endsWith("/") ? text.slice(0, -1) : text;
}

/** Whether the text can stand as a target: begins with a slash, visible ASCII, no fragment. */
export function isOriginForm(target: unknown): target is string {
  if (typeof target !== "string" || target.charCodeAt(0) !== 0x2f) return false;
  for (let i = 0; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (code <= 0x20 || code >= 0x7f || code === 0x23) return false;
  }
  return true;
}
