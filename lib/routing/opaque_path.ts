/** Paths as `URLPattern` must be given them, so that it sees what a server is going to see. */

/**
 * Protects a path from being normalised.
 *
 * `URLPattern` takes `\` for `/` and resolves `.` and `..`, also as `%2e`: `/public/%2e%2e/admin` would match
 * `/admin`, while the server gets the former. A tilde makes a name of such a segment.
 */
export function opaquePath(path: string): string {
  let safe = path;
  if (safe.indexOf("\\") >= 0) safe = safe.replaceAll("\\", "%5C");
  if (safe.indexOf("/.") < 0 && safe.indexOf("/%2") < 0) return safe;
  return safe.split("/").map((segment) => isDotSegment(segment) ? `${segment}~` : segment).join("/");
}

/** Whether a segment is `.` or `..`, or either of them encoded (URL standard, "single-dot URL path segment"). */
export function isDotSegment(segment: string): boolean {
  if (segment === "." || segment === "..") return true;
  if (segment.length < 3 || segment.length > 6 || segment.indexOf("%") < 0) return false;
  const decoded = segment.replaceAll(/%2e/gi, ".");
  return decoded === "." || decoded === "..";
}
