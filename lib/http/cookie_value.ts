/** Reads one cookie of a request. */

/**
 * The value of the first cookie of that name that is not empty; `null` when there is none.
 *
 * Reads in place: no list of all cookies is made for the sake of one (RFC 6265 section 5.4). White space around names and
 * values is none of theirs, as servers read it: `sid = 1` is `sid=1`.
 *
 * @param cookies the field `Cookie`; `null` when the request has none
 */
export function cookieValue(cookies: string | null, name: string): string | null {
  if (cookies === null) return null;
  for (let at = 0; at < cookies.length;) {
    at = skipSpace(cookies, at);
    let end = cookies.indexOf(";", at);
    if (end < 0) end = cookies.length;
    if (cookies.startsWith(name, at)) {
      const equals = skipSpace(cookies, at + name.length);
      if (cookies.charCodeAt(equals) === 0x3d) {
        const value = cookies.slice(equals + 1, end).trim();
        if (value !== "" && value !== '""') return value;
      }
    }
    at = end + 1;
  }
  return null;
}

function skipSpace(text: string, start: number): number {
  let at = start;
  while (text.charCodeAt(at) === 0x20 || text.charCodeAt(at) === 0x09) at++;
  return at;
}
