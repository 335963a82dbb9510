/** The field that tells caches what a response depends on. */

import { fieldTokens } from "../http/field_list.ts";
import type { HeaderFields } from "../http/header_fields.ts";

/** Adds a name to `Vary` (RFC 9110 section 12.5.5) unless it is there. */
export function addVary(headers: HeaderFields, name: string): void {
  const vary = headers.get("vary");
  if (vary === null || vary === "") return headers.set("vary", name);
  const wanted = name.toLowerCase();
  const covered = fieldTokens(vary).some((token) => token === "*" || token.toLowerCase() === wanted);
  if (!covered) headers.set("vary", `${vary}, ${name}`);
}
