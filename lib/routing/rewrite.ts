/** Rewrites the target of a request before it is sent to a server. */

import { normalPath } from "../http/normal_path.ts";
import { asciiTarget } from "../http/request_target.ts";

/**
 * Changes of the path, in this order; the query is not changed. They apply to the path in the form that the route compares
 * (`paths`), with bytes above 0x7F percent-encoded. The result begins with exactly one slash. A path that they do not
 * change is forwarded as received.
 */
export interface RewriteOptions {
  /** Prefix to remove, whole segments only: with `"/api"` the path `/api/users` becomes `/users`. @default {none} */
  stripPrefix?: string;
  /**
   * Replaces the first occurrence of a text, or the matches of a regular expression, as `String.replace` does.
   *
   * @default {none}
   */
  replace?: readonly [pattern: string | RegExp, replacement: string];
  /** Prefix to add to the result, such as `"/v2"`. @default {none} */
  prefix?: string;
}

/**
 * Returns the target (path and query) for the server. Its argument has the path in the form that the route compares.
 */
export type RewriteFunction<Ctx> = (target: string, ctx: Ctx) => string;

/** Compiles rewrite options to a function. */
export function compileRewrite<Ctx>(
  rewrite: RewriteOptions | RewriteFunction<Ctx>,
): RewriteFunction<Ctx> {
  if (typeof rewrite === "function") return rewrite;
  const { stripPrefix = "", replace, prefix = "" } = rewrite;
  const strips = stripPrefix === "" ? [] : prefixSpellings(stripPrefix);
  const front = withoutSlash(prefix);
  return (target) => {
    const query = target.indexOf("?");
    const received = query < 0 ? target : target.slice(0, query);
    let path = received;
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
    if (path === received) return front === "" ? target : front + target;
    // Exactly one slash: without one it would not be a path, and after two a server may read a host.
    path = front + path.replace(/^[/\\]*/, "/");
    return query < 0 ? path : path + target.slice(query);
  };
}

/** The part of a path after a prefix that has no slash at its end; `""` for the prefix itself, `null` for other paths. */
export function pathBelow(path: string, prefix: string): string | null {
  if (!path.startsWith(prefix)) return null;
  return path.length === prefix.length || path[prefix.length] === "/" ? path.slice(prefix.length) : null;
}

/** A prefix as written, and in its normal form: a path may have either form. */
export function prefixSpellings(prefix: string): readonly string[] {
  const written = withoutSlash(asciiTarget(prefix));
  const normal = withoutSlash(normalPath(prefix));
  return written === normal ? [written] : [written, normal];
}

/** Removes a slash at the end of a text. */
export function withoutSlash(text: string): string {
  return text.endsWith("/") ? text.slice(0, -1) : text;
}

/** Whether a text is a valid target: it begins with a slash, is visible ASCII, and has no fragment. */
export function isOriginForm(target: unknown): target is string {
  if (typeof target !== "string" || target.charCodeAt(0) !== 0x2f) return false;
  for (let i = 0; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (code <= 0x20 || code >= 0x7f || code === 0x23) return false;
  }
  return true;
}
