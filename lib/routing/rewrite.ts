/** What becomes of a target on its way to a server. */

/**
 * Changes of the path, in this order; the query stays as it is. All of them see the path as the client sent it,
 * neither decoded nor normalised, and bytes above 0x7F percent-encoded. What they make begins with a slash, which is put
 * there if need be.
 */
export interface RewriteOptions {
  /** Taken off a path that begins with it, up to the end of a segment: `"/api"` makes `/users` of `/api/users`. */
  stripPrefix?: string;
  /** What is found, and what takes its place: the first occurrence of a text, or a regular expression as in `replace`. */
  replace?: readonly [pattern: string | RegExp, replacement: string];
  /** Put in front of what there is then: `"/v2"`. */
  prefix?: string;
}

/** The target that a server gets in place of the client's: path and query. */
export type RewriteFunction<Ctx> = (target: string, ctx: Ctx) => string;

/** Makes the function that rewrites. */
export function compileRewrite<Ctx>(
  rewrite: RewriteOptions | RewriteFunction<Ctx>,
): RewriteFunction<Ctx> {
  if (typeof rewrite === "function") return rewrite;
  const { stripPrefix = "", replace, prefix = "" } = rewrite;
  const strip = withoutSlash(stripPrefix);
  const front = withoutSlash(prefix);
  return (target) => {
    const query = target.indexOf("?");
    const asked = query < 0 ? target : target.slice(0, query);
    let path = asked;
    if (strip !== "" && path.startsWith(strip)) {
      if (path.length === strip.length) path = "/";
      else if (path[strip.length] === "/") path = path.slice(strip.length);
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

function withoutSlash(text: string): string {
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
