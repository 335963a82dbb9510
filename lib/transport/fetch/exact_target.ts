/** What `fetch` does to the target of a request. */

/** Characters that a URL parser leaves alone wherever they stand; `.` and `%` are looked at closer. */
const PLAIN: readonly boolean[] = Array.from(
  { length: 128 },
  (_, code) => /[A-Za-z0-9\-_~!$&()*+,;=:@/?]/.test(String.fromCharCode(code)),
);
const DOT = 0x2e;
const PERCENT = 0x25;
const SLASH = 0x2f;

/**
 * Whether `fetch` sends the target as it is.
 *
 * It parses what it is given as a URL (WHATWG URL standard) and sends the result: dot segments are resolved, `\`
 * becomes `/`, a fragment is dropped, `'` in a query and some more characters are percent-encoded.
 */
export function isExactTarget(target: string): boolean {
  if (target.charCodeAt(0) !== SLASH) return false;
  for (let i = 1; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (PLAIN[code] === true) continue;
    // Only a whole segment of dots, written either way, is resolved.
    if (code === DOT && target.charCodeAt(i - 1) !== SLASH) continue;
    if (code === PERCENT && target.charCodeAt(i + 1) !== 0x32) continue;
    return survivesParsing(target);
  }
  return true;
}

function survivesParsing(target: string): boolean {
  const url = `http://h${target}`;
  // The fragment survives parsing, but stays here.
  return !target.includes("#") && URL.canParse(url) && new URL(url).href === url;
}
