/** Values of the fields that a client has sent, and of its cookies. */

const TAB = 0x09;
const SPACE = 0x20;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;

/**
 * Whether {@linkcode tidyValue} may make something else of a value that the runtime has put together from the lines of a field.
 *
 * The runtime shows empty lines at the end as commas with a space behind (those of `Cookie` as semicolons, at the beginning
 * too), and over HTTP/2 it leaves white space around values, which servers do not see (RFC 9110 section 5.5).
 */
export function isUntidy(value: string): boolean {
  const first = value.charCodeAt(0);
  return first <= SPACE || first === SEMICOLON || value.charCodeAt(value.length - 1) <= SPACE;
}

/**
 * Takes white space and empty lines off both ends of a value.
 *
 * @param separator code of what stands between lines: a semicolon for `Cookie` (RFC 9113 section 8.2.3), else a comma
 */
function trimLines(value: string, separator: number): string {
  let start = 0;
  for (;;) {
    const at = skipSpace(value, start);
    // A comma that no white space stands before may have been sent as such.
    const emptied = value.charCodeAt(at) === separator && isSpace(value.charCodeAt(at + 1)) &&
      (at > start || separator === SEMICOLON);
    start = emptied ? at + 1 : at;
    if (!emptied) break;
  }
  let end = value.length;
  while (end > start) {
    let at = end;
    while (at > start && isSpace(value.charCodeAt(at - 1))) at--;
    const emptied = at < end && at > start && value.charCodeAt(at - 1) === separator;
    end = emptied ? at - 1 : at;
    if (!emptied) break;
  }
  return value.slice(start, end);
}

function skipSpace(value: string, start: number): number {
  let at = start;
  while (isSpace(value.charCodeAt(at))) at++;
  return at;
}

function isSpace(code: number): boolean {
  return code === SPACE || code === TAB;
}

/**
 * The value of a field without the empty lines at its ends, and without white space around it.
 *
 * Lines in the middle that are empty stay: once they are joined, nothing tells them from commas that were sent.
 *
 * @param name in lower case
 */
export function tidyValue(name: string, value: string): string {
  return trimLines(value, name === "cookie" ? SEMICOLON : COMMA);
}

/**
 * The value of a field of a client, several lines of it joined; `null` when it is absent.
 *
 * `Headers.get()` of the runtime says `", me"` of an empty line and one with `me`, where `forEach()` says `"me"`, and the
 * latter is what goes to servers: whoever is asked for `me` must see `me` here too, or empty lines make new names for
 * one and the same client.
 *
 * @param name in lower case
 */
export function receivedValue(headers: Headers, name: string): string | null {
  const joined = Headers.prototype.get.call(headers, name);
  if (joined === null) return null;
  const first = joined.charCodeAt(0);
  if (first !== COMMA && !isUntidy(joined)) return joined;
  let found = joined;
  Headers.prototype.forEach.call(headers, (value, each) => {
    if (each === name) found = value;
  });
  return tidyValue(name, found);
}

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
