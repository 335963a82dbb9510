/** Fields that concern one connection only and must not travel on. */

import { RequestError } from "../core/errors.ts";
import {
  asciiBytes,
  equalsToken,
  fieldId,
  type FieldLines,
  fieldTokens,
  HOP_BY_HOP_GROUP,
  isHopByHopId,
} from "./field_lines.ts";
import { isForwardedField } from "./forwarded.ts";
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
  if (!headers.mayHave(HOP_BY_HOP_GROUP)) return null;
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

// Which fields may come behind the content of a message (RFC 9110 section 6.5.1).

/**
 * Fields that decide about framing, routing, authentication, caching or how to read the content. A server that takes
 * trailer fields for fields of the head would believe what nothing has checked.
 */
const HEAD_ONLY: ReadonlySet<string> = new Set([
  ..."content-length host expect max-forwards cache-control pragma range if-match if-none-match".split(" "),
  ..."if-modified-since if-unmodified-since if-range authorization www-authenticate cookie set-cookie".split(
    " ",
  ),
  ..."authentication-info proxy-authentication-info content-encoding content-type content-range".split(" "),
  ..."content-language content-location content-disposition age date expires last-modified location".split(
    " ",
  ),
  ..."retry-after vary warning origin referer via x-real-ip accept-ranges allow alt-svc clear-site-data"
    .split(" "),
  ..."strict-transport-security content-security-policy x-content-type-options x-frame-options".split(" "),
  ..."close early-data refresh x-http-method-override x-http-method x-method-override x-original-url x-rewrite-url"
    .split(" "),
]);

/** Whether a trailer field may be passed on. The name is in lower case. */
export function mayBeTrailer(name: string): boolean {
  // Behind CGI and its heirs an underscore is a dash.
  const plain = name.includes("_") ? name.replaceAll("_", "-") : name;
  return !HEAD_ONLY.has(plain) && !isHopByHop(plain) && !isForwardedField(plain) &&
    !plain.startsWith("access-control-") && !plain.startsWith("sec-");
}

// Makes the fields of a client mean the same to everybody who looks at them.

/** What becomes of fields with underscores in their names. */
export type Underscores = "drop" | "refuse" | "pass";

/**
 * Removes what keys and filters would see otherwise than servers: empty lines of a field that has others, and fields with
 * underscores in their names, which servers behind CGI and its heirs take for those with dashes.
 *
 * @throws {RequestError} 400 for an underscore where these are refused
 */
export function screenFields(headers: HeaderFields, underscores: Underscores): void {
  const { lines } = headers;
  if (lines === null) return;
  let refused: string | null = null;
  if (lines.underscore && underscores !== "pass") {
    for (let line = 0; line < lines.count; line++) {
      const name = lines.name(line);
      if (!name.includes("_")) continue;
      refused ??= name;
      headers.remove(line);
    }
  }
  if (lines.emptyValue) removeEmptyRepeats(headers);
  // Filters are asked about a refusal too, and must not see them then either.
  if (refused !== null && underscores === "refuse") throw underscoreError(refused);
}

/** The error for a field with an underscore in its name, where these are refused. */
export function underscoreError(name: string): RequestError {
  return new RequestError(`Names of fields must not have underscores, received ${JSON.stringify(name)}`);
}

// Names are counted first: comparing each empty line with every other takes square time.
function removeEmptyRepeats(headers: HeaderFields): void {
  const lines = headers.lines!;
  const counts = new Map<string, number>();
  for (let line = 0; line < lines.count; line++) {
    if (headers.isRemoved(line)) continue;
    const name = lines.name(line);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  for (let line = 0; line < lines.count; line++) {
    if (lines.valueStart(line) !== lines.valueEnd(line) || headers.isRemoved(line)) continue;
    const name = lines.name(line);
    const count = counts.get(name)!;
    if (count === 1) continue;
    headers.remove(line);
    counts.set(name, count - 1);
  }
}
