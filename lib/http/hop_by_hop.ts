/** Fields that concern one connection only and must not travel on. */

import { fieldTokens } from "./field_list.ts";

/**
 * Whether the field belongs to the connection and not to the message (RFC 9110 section 7.6.1, and what
 * implementations have added). The name is in lower case.
 */
export function isHopByHop(name: string): boolean {
  switch (name.length) {
    case 2:
      return name === "te";
    case 7:
      return name === "trailer" || name === "upgrade";
    case 10:
      return name === "connection" || name === "keep-alive";
    case 14:
      // RFC 7540 section 3.2.1
      return name === "http2-settings";
    case 16:
      return name === "proxy-connection";
    case 17:
      return name === "transfer-encoding";
    case 18:
      return name === "proxy-authenticate";
    case 19:
      return name === "proxy-authorization";
    default:
      return false;
  }
}

/**
 * The fields that a `Connection` field names besides the usual ones; `null` when there are none.
 *
 * `Host` and `Content-Length` cannot be named away: a client could make the proxy send a request without them.
 */
export function connectionNamedFields(connection: string | null): ReadonlySet<string> | null {
  if (connection === null || connection === "keep-alive" || connection === "close") return null;
  let named: Set<string> | null = null;
  for (const token of fieldTokens(connection)) {
    const name = token.toLowerCase();
    if (name === "host" || name === "content-length" || name === "close" || isHopByHop(name)) continue;
    (named ??= new Set()).add(name);
  }
  return named;
}

/** Removes from a list of name, value, name, value, ... what must not travel on; in place, in one pass. */
export function removeHopByHop(list: string[]): void {
  let named: ReadonlySet<string> | null = null;
  let found = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (!isHopByHop(name)) continue;
    found = true;
    if (name === "connection") named = mergeNamed(named, connectionNamedFields(list[i + 1]!));
  }
  if (!found) return;
  let kept = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (isHopByHop(name) || (named !== null && named.has(name))) continue;
    list[kept] = name;
    list[kept + 1] = list[i + 1]!;
    kept += 2;
  }
  list.length = kept;
}

function mergeNamed(
  first: ReadonlySet<string> | null,
  second: ReadonlySet<string> | null,
): ReadonlySet<string> | null {
  if (first === null || second === null) return first ?? second;
  return new Set([...first, ...second]);
}
