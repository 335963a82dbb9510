/** A field by which the proxy tells a server something that a client must not be able to say. */

import type { HeaderFields } from "../http/header_fields.ts";

/**
 * Replaces the field, in any spelling that a server could take for it: behind CGI and its heirs `X_User` is the same
 * variable as `X-User`.
 *
 * @param name in lower case
 * @param value `null` only takes the client's away, and so does one that cannot stand in a field
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
