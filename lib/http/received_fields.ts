/** Values of the fields and cookies of a client. */

const TAB = 0x09;
const SPACE = 0x20;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;

/**
 * Whether {@linkcode tidyValue} may change a value that the runtime has joined from the lines of a field.
 *
 * The runtime writes empty lines at the end as commas with a space after them (semicolons for `Cookie`, at the
 * beginning too). Over HTTP/2 it keeps white space around values, which servers do not see (RFC 9110 section 5.5).
 */
export function isUntidy(value: string): boolean {
  const first = value.charCodeAt(0);
  return first <= SPACE || first === SEMICOLON || value.charCodeAt(value.length - 1) <= SPACE;
}

/**
 * Removes white space and empty lines at both ends of a value.
 *
 * @param separator code of the character between lines: a semicolon for `Cookie` (RFC 9113 section 8.2.3), otherwise
 * a comma
 */
function trimLines(value: string, separator: number): string {
  let start = 0;
  for (;;) {
    const at = skipSpace(value, start);
    // A comma without white space before it may have been sent as such.
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
 * The value of a field without empty lines at its ends, and without white space around it.
 *
 * Empty lines in the middle stay: after joining, they look like commas that were sent.
 *
 * @param name in lower case
 */
export function tidyValue(name: string, value: string): string {
  return trimLines(value, name === "cookie" ? SEMICOLON : COMMA);
}

/**
 * The value of a field of a client, with its lines joined; `null` when it is absent.
 *
 * For an empty line and a line `me`, `Headers.get()` of the runtime returns `", me"`, but `forEach()` returns `"me"`,
 * which is what servers receive. This must return `me` too; otherwise a client could get new names by sending empty
 * lines.
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
 * The value of the first cookie with that name that is not empty; `null` when there is none.
 *
 * Reads in place: no list of all cookies is made (RFC 6265 section 5.4). White space around names and values is
 * dropped, as servers do: `sid = 1` is `sid=1`.
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
