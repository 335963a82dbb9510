/** Reads one cookie of a request. */

/**
 * The value of the first cookie of that name; `null` when there is none, or it is empty.
 *
 * Reads in place: no list of all cookies is made for the sake of one (RFC 6265 section 5.4).
 *
 * @param cookies the field `Cookie`; `null` when the request has none
 */
export function cookieValue(cookies: string | null, name: string): string | null {
  if (cookies === null) return null;
  for (let at = 0; at < cookies.length;) {
    while (cookies.charCodeAt(at) === 0x20) at++;
    let end = cookies.indexOf(";", at);
    if (end < 0) end = cookies.length;
    if (cookies.charCodeAt(at + name.length) === 0x3d && cookies.startsWith(name, at)) {
      return cookies.slice(at + name.length + 1, end).trimEnd() || null;
    }
    at = end + 1;
  }
  return null;
}
