/** Fields that concern one connection only and must not travel on. */

import { asciiBytes } from "./byte_classes.ts";
import { equalsToken, type FieldLines } from "./field_lines.ts";
import { fieldTokens } from "./field_list.ts";
import { fieldId, isHopByHopId } from "./field_names.ts";
import type { HeaderFields } from "./header_fields.ts";

const CONNECTION = fieldId("connection");
const KEEP_ALIVE = asciiBytes("keep-alive");
const CLOSE = asciiBytes("close");

/** Whether the field belongs to the connection and not to the message. The name is in lower case. */
export function isHopByHop(name: string): boolean {
  return isHopByHopId(fieldId(name));
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

/** Removes what must not travel on: fields of the connection, and those that `Connection` names, which it gives. */
export function removeHopByHop(headers: HeaderFields): ReadonlySet<string> | null {
  const { lines, list } = headers;
  let connection: string | null = null;
  if (lines !== null) {
    for (let line = 0; line < lines.count; line++) {
      const id = lines.id(line);
      if (!isHopByHopId(id) || headers.isRemoved(line)) continue;
      if (id === CONNECTION && !isUsual(lines, line)) connection = joined(connection, lines.value(line));
      headers.remove(line);
    }
  }
  let kept = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name === "connection") connection = joined(connection, list[i + 1]!);
    if (isHopByHop(name)) continue;
    list[kept] = name;
    list[kept + 1] = list[i + 1]!;
    kept += 2;
  }
  list.length = kept;
  const named = connectionNamedFields(connection);
  if (named !== null) removeNamed(headers, named);
  return named;
}

// Each line is looked up once: a client can name ten thousand fields, and send two hundred.
function removeNamed(headers: HeaderFields, named: ReadonlySet<string>): void {
  const { lines, list } = headers;
  if (lines !== null) {
    for (let line = 0; line < lines.count; line++) {
      if (!headers.isRemoved(line) && named.has(lines.name(line))) headers.remove(line);
    }
  }
  let kept = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (named.has(name)) continue;
    list[kept] = name;
    list[kept + 1] = list[i + 1]!;
    kept += 2;
  }
  list.length = kept;
}

// No text is made of what nearly every client and server sends.
function isUsual(lines: FieldLines, line: number): boolean {
  const { bytes } = lines;
  const from = lines.valueStart(line);
  const to = lines.valueEnd(line);
  return equalsToken(bytes, from, to, KEEP_ALIVE) || equalsToken(bytes, from, to, CLOSE);
}

function joined(before: string | null, value: string): string {
  return before === null ? value : `${before}, ${value}`;
}
