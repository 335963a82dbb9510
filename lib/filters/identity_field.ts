/** A field by which the proxy tells a server something that a client must not be able to say. */

import type { HeaderFields } from "../http/header_fields.ts";

/**
 * How a value stands in a field:
 *
 * - `"plain"`: as it is. Only visible characters of ASCII with spaces between them can be carried so; servers would
 *   take others for something else (RFC 9110 section 5.5), such as `"admin "` for `"admin"`;
 * - `"percent"`: percent-encoded as `encodeURIComponent` does it, any text, for servers that decode it.
 */
export type IdentityEncoding = "plain" | "percent";

const EXACT = /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/;

/**
 * Makes sure that an option says how values stand in fields.
 *
 * @param filter who asks, for the error message
 * @throws {TypeError} when it says something else
 */
export function checkedEncoding(filter: string, option: string, encoding: unknown): IdentityEncoding {
  if (encoding === "plain" || encoding === "percent") return encoding;
  throw new TypeError(
    `Cannot make the filter ${filter}: "${option}" must be "plain" or "percent", received ${
      JSON.stringify(encoding)
    }`,
  );
}

/**
 * The value as it stands in the field; `null` when it cannot be carried there, so that the server would take it for
 * another one.
 *
 * @param value a text, a number that is exact, or a boolean; nothing else can be carried
 */
export function identityText(value: unknown, encoding: IdentityEncoding): string | null {
  switch (typeof value) {
    case "string":
      if (encoding === "plain") return EXACT.test(value) ? value : null;
      return value.isWellFormed() ? encodeURIComponent(value) : null;
    case "number":
      // A larger whole number has lost its last digits when it was read, and two of them look the same.
      return Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))
        ? String(value)
        : null;
    case "boolean":
    case "bigint":
      return String(value);
    default:
      return null;
  }
}

/**
 * Replaces the field, in any spelling that a server could take for it: behind CGI and its heirs `X_User` is the same
 * variable as `X-User`.
 *
 * @param name in lower case
 * @param value as {@linkcode identityText} makes it; `null` only takes the client's away
 */
export function setIdentityField(headers: HeaderFields, name: string, value: string | null): void {
  const plain = name.replaceAll("_", "-");
  const spellings = new Set<string>();
  headers.forEach((_value, each) => {
    if (each.replaceAll("_", "-") === plain) spellings.add(each);
  });
  for (const spelling of spellings) headers.delete(spelling);
  if (value !== null) headers.set(name, value);
}
