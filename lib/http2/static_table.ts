/** The static table of HPACK (RFC 7541 appendix A). */

import { asciiBytes } from "../http/byte_classes.ts";

const ENTRIES: readonly (readonly [name: string, value: string])[] = `:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`.split("\n").map((line) => {
  const space = line.indexOf(" ");
  return space < 0 ? [line, ""] : [line.slice(0, space), line.slice(space + 1)];
});

/** How many entries it has; the first has the index 1. */
export const STATIC_ENTRIES: number = ENTRIES.length;

/** Names and values, one behind the other. */
export const STATIC_BYTES: Uint8Array = asciiBytes(ENTRIES.map((entry) => entry.join("")).join(""));

/** By index: where the name begins in {@linkcode STATIC_BYTES}, and where it ends; the value ends where the next name begins. */
export const STATIC_NAME_STARTS: Uint16Array = new Uint16Array(STATIC_ENTRIES + 2);
export const STATIC_NAME_ENDS: Uint16Array = new Uint16Array(STATIC_ENTRIES + 2);

const NAME_INDEXES = new Map<string, number>();

ENTRIES.forEach(([name, value], i) => {
  const start = STATIC_NAME_STARTS[i + 1]!;
  STATIC_NAME_ENDS[i + 1] = start + name.length;
  STATIC_NAME_STARTS[i + 2] = start + name.length + value.length;
  if (!NAME_INDEXES.has(name)) NAME_INDEXES.set(name, i + 1);
});

/** The index of the first entry with a name; 0 when there is none. */
export function staticIndexOf(name: string): number {
  return NAME_INDEXES.get(name) ?? 0;
}
