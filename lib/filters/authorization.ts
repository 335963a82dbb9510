/** What a client shows to be let in. */

/** `token68` of RFC 9110 section 11.2, which is also the `b64token` of RFC 6750 section 2.1. */
const CREDENTIALS = /^([A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*)$/;

/**
 * The credentials of `Authorization` for a scheme; `null` when there are none, or of another scheme, or several.
 *
 * @param scheme in lower case
 */
export function readCredentials(authorization: string | null, scheme: "basic" | "bearer"): string | null {
  if (authorization === null) return null;
  const match = CREDENTIALS.exec(authorization);
  return match !== null && match[1]!.toLowerCase() === scheme ? match[2]! : null;
}

/**
 * Writes text as a quoted string (RFC 9110 section 5.6.4).
 *
 * @throws {TypeError} when it has characters that cannot stand in one
 */
export function quoted(filter: string, text: string): string {
  if (!/^[\x20-\x7e]*$/.test(text)) {
    throw new TypeError(
      `Cannot make the filter ${filter}: ${JSON.stringify(text)} has characters other than those of ASCII`,
    );
  }
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}
