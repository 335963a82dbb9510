/** Keys by which a limit counts: the client's address, a field of the request, or the result of a function. */

import { unexpected } from "../core/callback.ts";
import { must, type Rule } from "../core/options.ts";
import { cookieValue, receivedValue } from "../http/received_fields.ts";
import { isToken } from "../http/header_fields.ts";
import { makeHextets, readIpAddress } from "../http/ip_address.ts";
import { countedPath } from "../http/normal_path.ts";

/** The source of a key, for example the proxy's request context. */
export interface KeySource {
  /** The request of the runtime. */
  readonly request: Request;
  /** The fields for keys; by default those of {@linkcode request}. */
  readonly fields?: { get(name: string): string | null };
  /** Address of the client; `""` on a unix socket, and `"unknown"` if a trusted proxy does not know it. */
  readonly clientIp: string;
  /** Path and query as received, not normalised; bytes above 0x7F are percent-encoded. */
  readonly target: string;
  /** The client's `Host`. */
  readonly host: string;
  /** The client certificate; `null` or absent without one. */
  readonly certificate?: { readonly fingerprint: string } | null;
}

/** A key described by a name. */
export type NamedKey =
  | "ip"
  | "path"
  | "host"
  | "certificate:fingerprint"
  | `header:${string}`
  | `cookie:${string}`
  | `query:${string}`;

/** A key as a function; `null` or `""` for a request without a key. */
type KeyFunction<Ctx extends KeySource = KeySource> = (request: Request, ctx: Ctx) => string | null;

/**
 * The key by which a limit counts.
 *
 * - `"ip"`: the client's address; IPv6 by its network, IPv4 written as IPv6 as IPv4; all unknown clients share one key;
 * - `"path"`: the path without the query; one key for all spellings that a server may take for the same path: any
 *   encoding, and `//`, `/./`, `/x/..`, `;x` or `\` in it;
 * - `"host"`: the host in lower case, without port;
 * - `"certificate:fingerprint"`: the SHA-256 fingerprint of the client certificate;
 * - `"header:NAME"`: the value of the field as the server receives it; several lines are joined by `", "`, without
 *   empty ones at the beginning and the end;
 * - `"cookie:NAME"`, `"query:NAME"`: the first non-empty value of that name, percent-decoded; for a cookie without its
 *   quotes;
 * - an array of these: all of them together;
 * - a function.
 *
 * The server receives all cookies and the whole query, and may use another value of the same name: PHP and Django use
 * the last query parameter, others the first. A function can count by the value that the server uses, and a filter can
 * refuse requests that have two.
 *
 * An empty value counts as missing, as in nginx. A missing part of an array is counted as such, so that leaving out a
 * field does not lift a limit that is also counted by address. The key is missing if all parts are.
 */
export type KeySpec<Ctx extends KeySource = KeySource> =
  | "ip"
  | "path"
  | "host"
  | "certificate:fingerprint"
  | `header:${string}`
  | `cookie:${string}`
  | `query:${string}`
  | readonly (
    | "ip"
    | "path"
    | "host"
    | "certificate:fingerprint"
    | `header:${string}`
    | `cookie:${string}`
    | `query:${string}`
  )[]
  | ((request: Request, ctx: Ctx) => string | null);

const KEY_SPEC_EXPECTED =
  '"ip", "path", "host", "certificate:fingerprint", "header:NAME", "cookie:NAME", "query:NAME", an array of these, or a function';

const FINGERPRINT = "certificate:fingerprint";

/** Options for making a key. */
interface KeyOptions {
  /** Bits of an IPv6 address that count as one client; providers assign whole networks. @default {64} */
  ipv6Prefix?: number;
}

/** Returns the key of a request; `null` if it has none. */
export type CompiledKey = (source: KeySource) => string | null;

/**
 * Checks that a function of the configuration returned a key. A promise must not pass: it would be the same key for all
 * requests.
 *
 * @throws {TypeError} when the value is neither a string nor `null`
 */
export function checkedKey(key: unknown): string | null {
  if (key === null || typeof key === "string") return key;
  throw unexpected("a string or null", key);
}

function isNamedKey(text: string): text is NamedKey {
  if (text === "ip" || text === "path" || text === "host" || text === FINGERPRINT) return true;
  const colon = text.indexOf(":");
  const name = text.slice(colon + 1);
  switch (text.slice(0, colon + 1)) {
    case "header:":
    case "cookie:":
      return isToken(name);
    case "query:":
      return name !== "";
    default:
      return false;
  }
}

/** Maximum length of a name that is repeated in a hint; longer names are not typing errors. */
const MAX_HINT = 40;

/** Describes valid keys, with a hint which field a bare name probably means. */
function expectedKey(value: unknown): string {
  const name = typeof value === "string" ? value.replace(/^header:/i, "").trim() : "";
  if (/^\$?(?:binary_)?(?:remote_addr|client_?ip|src)$/i.test(name)) {
    return `${KEY_SPEC_EXPECTED} ("ip" counts by the address of the client)`;
  }
  const long = name.length > MAX_HINT;
  if (long || !isToken(name) || ["header", "cookie", "query"].includes(name)) return KEY_SPEC_EXPECTED;
  return `${KEY_SPEC_EXPECTED} ("header:${name}" counts by a field)`;
}

/** A key as configured. */
export const KEY_SPEC: Rule = must((value) => parseKeySpec(value) !== undefined, expectedKey);

/** Parses a key of the configuration; `undefined` if it is invalid. */
export function parseKeySpec(value: unknown): KeySpec | undefined {
  if (typeof value === "function") return value as KeyFunction;
  if (typeof value === "string") return isNamedKey(value) ? value : undefined;
  if (!Array.isArray(value) || value.length === 0) return undefined;
  return value.every((part) => typeof part === "string" && isNamedKey(part)) ? value : undefined;
}

/** Makes the function that returns the key of a request; the key is never empty. */
export function compileKey<Ctx extends KeySource>(spec: KeySpec<Ctx>, options: KeyOptions = {}): CompiledKey {
  const { ipv6Prefix = 64 } = options;
  if (typeof spec === "function") {
    // The limiter passes the object that it received, which is a `Ctx`.
    return (source) => spec(source.request, source as Ctx) || null;
  }
  if (typeof spec === "string") return compileNamed(spec, ipv6Prefix);
  const parts = spec.map((part) => compileNamed(part, ipv6Prefix));
  return parts.length === 1 ? parts[0]! : (source) => joinParts(parts, source);
}

/** Writes the length before each part: `["a", "b:c"]` and `["a:b", "c"]` must not be the same key. */
function joinParts(parts: readonly CompiledKey[], source: KeySource): string | null {
  let key = "";
  let found = false;
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!(source);
    if (part === null) {
      key += "-";
    } else {
      found = true;
      key += part.length + ":" + part;
    }
  }
  return found ? key : null;
}

function compileNamed(spec: NamedKey, ipv6Prefix: number): CompiledKey {
  switch (spec) {
    case "ip":
      return (source) => source.clientIp === "" ? null : addressGroup(source.clientIp, ipv6Prefix);
    case "path":
      return pathOf;
    case "host":
      return hostOf;
    case FINGERPRINT:
      return ({ certificate = null }) => certificate === null ? null : certificate.fingerprint;
  }
  const colon = spec.indexOf(":");
  const name = spec.slice(colon + 1);
  const lowerName = name.toLowerCase();
  switch (spec.slice(0, colon)) {
    case "header":
      return (source) => fieldOf(source, lowerName) || null;
    case "cookie":
      return (source) => plainCookie(cookieValue(fieldOf(source, "cookie"), name));
    default:
      return (source) => queryOf(source.target, name);
  }
}

// Reads `fields` if possible: making the `Request` costs as much as half of an exchange.
function fieldOf(source: KeySource, name: string): string | null {
  const { fields } = source;
  return fields === undefined ? receivedValue(source.request.headers, name) : fields.get(name);
}

function pathOf(source: KeySource): string | null {
  const { target } = source;
  const query = target.indexOf("?");
  return countedPath(query < 0 ? target : target.slice(0, query)) || null;
}

/** One host regardless of case, port and the dot of an absolute name: another spelling must not buy a second quota. */
function hostOf(source: KeySource): string | null {
  const { host } = source;
  let end = host.length;
  const colon = host.lastIndexOf(":");
  if (colon >= 0 && colon > host.lastIndexOf("]")) end = colon;
  if (host.charCodeAt(end - 1) === 0x2e) end--;
  return (end === host.length ? host : host.slice(0, end)).toLowerCase() || null;
}

/** One value for all spellings of a cookie that servers take for the same: quoted, and percent-encoded. */
function plainCookie(value: string | null): string | null {
  if (value === null) return null;
  const quoted = value.length > 1 && value.startsWith('"') && value.endsWith('"');
  const plain = quoted ? value.slice(1, -1) : value;
  return (plain.includes("%") ? decodePercent(plain) : plain) || null;
}

function queryOf(target: string, name: string): string | null {
  const query = target.indexOf("?");
  if (query < 0) return null;
  for (let at = query + 1; at < target.length;) {
    let end = target.indexOf("&", at);
    if (end < 0) end = target.length;
    let equals = target.indexOf("=", at);
    if (equals < 0 || equals > end) equals = end;
    if (decodeQuery(target.slice(at, equals)) === name) {
      const value = decodeQuery(target.slice(equals + 1, end));
      if (value !== "") return value;
    }
    at = end + 1;
  }
  return null;
}

/** Decodes the text: `a` and `%61` must not be two clients. Text that is not encoded stays as it is. */
function decodeQuery(text: string): string {
  if (text.indexOf("%") < 0 && text.indexOf("+") < 0) return text;
  return decodePercent(text.replaceAll("+", " "));
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// One client, one key: the network of an address.

/**
 * The key of all clients in the same network as the address.
 *
 * An IPv4 address is its own key, also when it is written as IPv6. The key of an IPv6 address is its first `ipv6Prefix`
 * bits, because a client with one address usually has the whole network to choose from. A text that is not an address
 * is its own key.
 */
export function addressGroup(address: string, ipv6Prefix: number): string {
  if (address.indexOf(":") < 0) return address;
  const hextets = makeHextets();
  const version = readIpAddress(address, hextets);
  if (version === 0) return address;
  if (version === 4) {
    const high = hextets[6]!;
    const low = hextets[7]!;
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  let group = "";
  for (let i = 0; i * 16 < ipv6Prefix; i++) {
    const bits = Math.min(16, ipv6Prefix - i * 16);
    group += (hextets[i]! & (0xffff << (16 - bits))).toString(16) + ":";
  }
  return `${group}:/${ipv6Prefix}`;
}
