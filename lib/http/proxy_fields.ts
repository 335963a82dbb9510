/**
 * Fields between proxies: hop-by-hop fields, which must not be forwarded, and fields about the client and the route
 * of a message.
 */

import { RequestError } from "../core/errors.ts";
import { FLAG, object, type Rule } from "../core/options.ts";
import {
  asciiBytes,
  CDN_LOOP_GROUP,
  equalsToken,
  fieldId,
  type FieldLines,
  fieldTokens,
  FORWARDED_GROUP,
  HOP_BY_HOP_GROUP,
  isHopByHopId,
  OTHER_FIELD,
} from "./field_lines.ts";
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
 * `Host` and `Content-Length` are ignored there: otherwise a client could make the proxy send a request without them.
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

/** Removes the hop-by-hop fields and those that `Connection` names; returns the latter. */
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

// No string is made of the values that nearly every client and server sends.
function isUsual(lines: FieldLines, line: number): boolean {
  const { bytes } = lines;
  const from = lines.valueStart(line);
  const to = lines.valueEnd(line);
  return equalsToken(bytes, from, to, KEEP_ALIVE) || equalsToken(bytes, from, to, CLOSE);
}

function joined(before: string | null, value: string): string {
  return before === null ? value : `${before}, ${value}`;
}

// Which fields are allowed as trailer fields (RFC 9110 section 6.5.1).

/**
 * Fields that decide about framing, routing, authentication, caching or how to read the content. A server that merges
 * trailer fields into the head would trust fields that nothing has checked.
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
  ..."client-cert client-cert-chain strict-transport-security content-security-policy x-content-type-options x-frame-options"
    .split(" "),
  ..."close early-data refresh x-http-method-override x-http-method x-method-override x-original-url x-rewrite-url"
    .split(" "),
]);

/** Whether a trailer field may be passed on. The name is in lower case. */
export function mayBeTrailer(name: string): boolean {
  // Servers behind CGI-like interfaces read an underscore as a dash.
  const plain = name.includes("_") ? name.replaceAll("_", "-") : name;
  return !HEAD_ONLY.has(plain) && !isHopByHop(plain) && !isForwardedField(plain) &&
    !plain.startsWith("access-control-") && !plain.startsWith("sec-");
}

// Makes the fields of a client mean the same to keys, filters and servers.

/** What to do with fields that have underscores in their names. */
export type Underscores = "drop" | "refuse" | "pass";

/**
 * Removes fields that keys and filters would see differently than servers: empty lines of a field that has other
 * lines, and fields with underscores in their names, which servers behind CGI-like interfaces read as dashes.
 *
 * @throws {RequestError} 400 for an underscore where they are refused
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
  // Filters also run for a refused request, and must not see these fields then either.
  if (refused !== null && underscores === "refuse") throw underscoreError(refused);
}

/** The error for a field with an underscore in its name, where they are refused. */
export function underscoreError(name: string): RequestError {
  return new RequestError(`Names of fields must not have underscores, received ${JSON.stringify(name)}`);
}

// Names are counted first: comparing each empty line with every other takes quadratic time.
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

// Fields by which a server learns about the client.

/** The name of the proxy in `Via`, `Proxy-Status` and the like. */
export const PROXY_NAME = "lbproxy";

/**
 * Whether a client could use the field to pose as a proxy that forwards for another client.
 *
 * Removed from every request; {@linkcode addForwarded} writes those of this proxy. The name is in lower case.
 */
export function isForwardedField(name: string): boolean {
  if (name === "forwarded") return true;
  // The whole family: servers trust `-ssl`, `-scheme`, `-user` and `-client-cert` as well as the usual ones. And in
  // any spelling: behind CGI-like interfaces `X_Forwarded_For` is the same variable as `X-Forwarded-For`.
  return name.startsWith("forwarded", 2) && name.startsWith("x") && isDash(name[1]) && isDash(name[11]);
}

/** The result of {@linkcode removeForwarded}. */
interface FromProxies {
  readonly via: string | null;
  readonly fromProxy: boolean;
}

const FROM_NONE: FromProxies = { via: null, fromProxy: false };

/**
 * Removes the fields of a client about other proxies. Returns the value of `Via`, which is removed too because it is
 * written anew, and whether any field shows that the request passed through a proxy.
 */
export function removeForwarded(headers: HeaderFields): FromProxies {
  if (!headers.mayHave(FORWARDED_GROUP)) return FROM_NONE;
  const { lines, list } = headers;
  let via: string | null = null;
  let fromProxy = false;
  if (lines !== null) {
    for (let line = 0; line < lines.count; line++) {
      if (headers.isRemoved(line)) continue;
      const id = lines.id(line);
      if (id === VIA_ID) via = via === null ? lines.value(line) : `${via}, ${lines.value(line)}`;
      else if (!isForwardedLine(id, lines, line)) continue;
      fromProxy = true;
      headers.remove(line);
    }
  }
  let kept = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name === "via") via = via === null ? list[i + 1]! : `${via}, ${list[i + 1]}`;
    if (name === "via" || isForwardedField(name)) {
      fromProxy = true;
      continue;
    }
    list[kept] = name;
    list[kept + 1] = list[i + 1]!;
    kept += 2;
  }
  list.length = kept;
  return { via, fromProxy };
}

const VIA_ID = fieldId("via");
const FORWARDED_IDS: ReadonlySet<number> = new Set(
  ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"].map(fieldId),
);

// A string is made only of a name that begins like the family: `x`, a dash, `f`.
function isForwardedLine(id: number, lines: FieldLines, line: number): boolean {
  if (id !== OTHER_FIELD) return FORWARDED_IDS.has(id);
  const { bytes } = lines;
  const start = lines.nameStart(line);
  return (bytes[start]! | 0x20) === 0x78 && (bytes[start + 2]! | 0x20) === 0x66 &&
    isForwardedField(lines.name(line));
}

function isDash(character: string | undefined): boolean {
  return character === "-" || character === "_";
}

/**
 * Which header fields inform servers about the client.
 *
 * @example The standard field in place of X-Forwarded-For
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   forwarded: { forwarded: true, xForwarded: false },
 * });
 * ```
 */
export interface ForwardedOptions {
  /** `X-Forwarded-For`, `-Proto` and `-Host`. @default {true} */
  xForwarded?: boolean;
  /** `Forwarded` (RFC 7239). @default {false} */
  forwarded?: boolean;
  /** `Via` (RFC 9110 section 7.6.3). Some servers (nginx) do not compress responses to such requests. @default {false} */
  via?: boolean;
  /**
   * `CDN-Loop` (RFC 8586) with a name of this proxy, on requests that came through another proxy, and on all requests
   * when none of the other fields is on. A request that returns with it gets 508. @default {true}
   */
  cdnLoop?: boolean;
  /**
   * `Client-Cert` (RFC 9440): the certificate of the client. When it is on, `Client-Cert` and `Client-Cert-Chain`
   * from clients are removed. @default {false}
   */
  clientCert?: boolean;
}

/** Which header fields inform servers about the client. */
export const FORWARDED: Rule = object<ForwardedOptions>(
  { xForwarded: FLAG, forwarded: FLAG, via: FLAG, cdnLoop: FLAG, clientCert: FLAG },
  'an object with "xForwarded", "forwarded", "via", "cdnLoop" or "clientCert"',
);

/** The options with every default filled in. */
export type ResolvedForwarded = Readonly<Required<ForwardedOptions>>;

/** Fills in the defaults. */
export function resolveForwarded(options: ForwardedOptions = {}): ResolvedForwarded {
  const { xForwarded = true, forwarded = false, via = false, cdnLoop = true, clientCert = false } = options;
  return Object.freeze({ xForwarded, forwarded, via, cdnLoop, clientCert });
}

/** What is known about a client: the peer of the connection, and what a trusted proxy reports. */
export interface ForwardedIdentity {
  /** Address of the peer; `""` on a unix socket, for which no address is forwarded. */
  readonly peerIp: string;
  /** Scheme of the connection. */
  readonly peerScheme: string;
  /** Scheme that the client used. */
  readonly scheme: string;
  /** Host that the client asked a trusted proxy for; `null` if no trusted proxy reports one. */
  readonly forwardedHost: string | null;
  /** `X-Forwarded-For` of a trusted proxy; `null` without one. */
  readonly forwardedFor: string | null;
  /** `Forwarded` of a trusted proxy; `null` without one. */
  readonly forwarded: string | null;
}

/** The input of {@linkcode addForwarded}. */
interface ForwardedInput {
  readonly identity: ForwardedIdentity;
  /** Host of the request. */
  readonly host: string;
  /** The `Via` field of the request; `null` when it has none. */
  readonly via: string | null;
}

/**
 * Adds the fields of a proxy. The peer is appended to the value of a trusted peer; the values of other peers are
 * replaced.
 */
export function addForwarded(list: string[], fields: ResolvedForwarded, input: ForwardedInput): void {
  const { identity: { peerIp, peerScheme, scheme, forwardedHost, forwardedFor, forwarded }, host, via } =
    input;
  if (fields.xForwarded) {
    if (peerIp === "") {
      if (forwardedFor !== null) list.push("x-forwarded-for", forwardedFor);
    } else list.push("x-forwarded-for", forwardedFor === null ? peerIp : `${forwardedFor}, ${peerIp}`);
    list.push("x-forwarded-proto", scheme, "x-forwarded-host", forwardedHost ?? host);
  }
  if (fields.forwarded) {
    const own = writeForwarded(peerIp, host, peerScheme);
    list.push("forwarded", forwarded === null ? own : `${forwarded}, ${own}`);
  }
  if (fields.via) list.push("via", via === null ? VIA : `${via}, ${VIA}`);
  else if (via !== null) list.push("via", via);
}

const VIA = `1.1 ${PROXY_NAME}`;

/**
 * The mark by which a proxy recognises its own requests when they return, directly or through other proxies.
 *
 * A request from a client has no fields of proxies and gets no mark. If it returns, it has the fields that this proxy
 * added, and then it gets the mark. So a loop ends in its second round, and requests of clients reach servers without
 * the mark. A client that knows the name can do no harm: only requests with the mark are ended.
 */
export class LoopMark {
  readonly #name: string;
  readonly #always: boolean;

  /** @param id of this proxy only, as a token */
  constructor({ xForwarded, forwarded, via }: ResolvedForwarded, id: string) {
    this.#name = `${PROXY_NAME}-${id}`;
    this.#always = !xForwarded && !forwarded && !via;
  }

  /** Whether a request with this `CDN-Loop` has passed this proxy before. */
  isIn(cdnLoop: string): boolean {
    return cdnLoop.includes(this.#name);
  }

  /**
   * Adds the mark where it is needed; marks of others are kept (RFC 8586 section 2).
   *
   * @param fromProxy whether the request passed through a proxy
   */
  add(headers: HeaderFields, fromProxy: boolean): void {
    const cdnLoop = headers.mayHave(CDN_LOOP_GROUP) ? headers.get("cdn-loop") : null;
    if (cdnLoop !== null) headers.set("cdn-loop", `${cdnLoop}, ${this.#name}`);
    else if (fromProxy || this.#always) headers.list.push("cdn-loop", this.#name);
  }
}

// Reads the field `Forwarded` (RFC 7239 section 4).

/** What one proxy reports about the request that it received. */
interface ForwardedElement {
  /** The client it received the request from: an address, perhaps with a port, `unknown`, or an invented name. */
  readonly for: string | null;
  /** `Host` of the received request. */
  readonly host: string | null;
  /** Scheme of the received request. */
  readonly proto: string | null;
}

/** The readable end of a field. */
interface ReadableForwarded {
  /** The report of each proxy, the nearest one last. */
  readonly elements: readonly ForwardedElement[];
  /** The elements as received; `""` when there are none. */
  readonly text: string;
}

/** A pair and its delimiter, as a token or a quoted string; white space around it is accepted. */
const PAIR =
  /[ \t]*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z:[\]]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?(;|$)/y;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

/**
 * Reads the elements from the end, as far as they are valid: each proxy adds its element there, and an element that
 * cannot be read may have been written to swallow the ones after it.
 */
export function readForwarded(field: string): ReadableForwarded {
  const elements: ForwardedElement[] = [];
  let start = field.length;
  for (let end = field.length; end >= 0;) {
    const begin = lastElement(field, end);
    const element = readElement(field.slice(begin, end));
    if (element === null) break;
    elements.push(element);
    start = begin;
    end = begin - 1;
  }
  return { elements: elements.reverse(), text: field.slice(start).trim() };
}

/** Where the last element of `text[0..end)` begins: after the last comma that is not quoted. */
function lastElement(text: string, end: number): number {
  let quoted = false;
  for (let i = end - 1; i >= 0; i--) {
    const code = text.charCodeAt(i);
    if (code === QUOTE && !(quoted && isEscaped(text, i))) quoted = !quoted;
    else if (code === COMMA && !quoted) return i + 1;
  }
  return 0;
}

function isEscaped(text: string, at: number): boolean {
  let start = at;
  while (start > 0 && text.charCodeAt(start - 1) === BACKSLASH) start--;
  return (at - start) % 2 === 1;
}

/** An element; `null` when it is invalid, empty or repeats a parameter (RFC 7239 section 4). */
function readElement(text: string): ForwardedElement | null {
  const pairs = new Map<string, string>();
  PAIR.lastIndex = 0;
  for (let ended = false; !ended;) {
    const match = PAIR.exec(text);
    if (match === null) return null;
    const [, name, token, quoted = "", end] = match;
    ended = end === "";
    if (name === undefined) continue;
    const key = name.toLowerCase();
    if (pairs.has(key)) return null;
    pairs.set(key, token ?? quoted.replaceAll(/\\(.)/g, "$1"));
  }
  if (pairs.size === 0) return null;
  return {
    for: pairs.get("for") ?? null,
    host: pairs.get("host") ?? null,
    proto: pairs.get("proto") ?? null,
  };
}

/** Writes an element; values that are no tokens are quoted. */
export function writeForwarded(clientIp: string, host: string, proto: string): string {
  const parts = clientIp === "" ? [] : [`for=${clientIp.includes(":") ? `"[${clientIp}]"` : clientIp}`];
  parts.push(/^[0-9A-Za-z.-]+$/.test(host) ? `host=${host}` : `host="${host.replaceAll(/["\\]/g, "\\$&")}"`);
  parts.push(`proto=${proto}`);
  return parts.join(";");
}
