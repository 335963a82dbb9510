/** What a limit is counted by: the client's address, a field of the request, or anything a function returns. */

import { unexpected } from "../core/callback.ts";
import { must, type Rule } from "../core/options.ts";
import { cookieValue, receivedValue } from "../http/received_fields.ts";
import { isToken } from "../http/header_fields.ts";
import { makeHextets, readIpAddress } from "../http/ip_address.ts";
import { countedPath } from "../http/normal_path.ts";

/** What a key is taken from; the proxy's request context is one. */
export interface KeySource {
  /** The request as the runtime gives it. */
  readonly request: Request;
  /** The fields as keys see them; those of {@linkcode request} when left out. */
  readonly fields?: { get(name: string): string | null };
  /** Address of the client; `""` on a unix socket, and `"unknown"` where a trusted proxy does not know it. */
  readonly clientIp: string;
  /** Path and query as they stand in the request line, not normalised; bytes above 0x7F percent-encoded. */
  readonly target: string;
  /** The client's `Host`. */
  readonly host: string;
  /** The certificate that the client has shown; `null`, or left out, without one. */
  readonly certificate?: { readonly fingerprint: string } | null;
}

/** A key that a name describes. */
export type NamedKey =
  | "ip"
  | "path"
  | "host"
  | "certificate:fingerprint"
  | `header:${string}`
  | `cookie:${string}`
  | `query:${string}`;

/** A key of one's own making; `null` or `""` when the request has none. */
type KeyFunction<Ctx extends KeySource = KeySource> = (request: Request, ctx: Ctx) => string | null;

/**
 * What a limit is counted by.
 *
 * - `"ip"`: the client's address; IPv6 by its network, IPv4 written as IPv6 as IPv4; all unknown clients are one;
 * - `"path"`: the path without the query; one key for all that a server may take for the same path, however it is
 *   encoded, and whatever stands in it as `//`, `/./`, `/x/..`, `;x` or `\`;
 * - `"host"`: the host in lower case, without port;
 * - `"certificate:fingerprint"`: the SHA-256 of the certificate that the client has shown;
 * - `"header:NAME"`: the value of the field as the server gets it, several lines as one, joined by `", "`, without
 *   empty ones at the beginning and the end;
 * - `"cookie:NAME"`, `"query:NAME"`: the first value of that name that is not empty, percent-decoded; of a cookie without
 *   its quotes;
 * - an array of these: all of them together;
 * - a function.
 *
 * The server gets all cookies and the whole query, and may take another one of the same name: PHP and Django take the
 * last parameter of a query, others the first. A function can count by the one that the server takes, and
 * a filter refuse requests that have two.
 *
 * An empty value counts as none, as in nginx. Of several parts those missing count as missing, so that leaving a field
 * out does not lift a limit that is also counted by address; the key is missing when all parts are.
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

/** How a key is made. */
interface KeyOptions {
  /** Bits of an IPv6 address that count as one client; providers hand out whole networks. @default {64} */
  ipv6Prefix?: number;
}

/** Takes the key of one request; `null` when it has none. */
export type CompiledKey = (source: KeySource) => string | null;

/**
 * Makes sure that what a function of the configuration gave is a key; a promise would be one and the same for everybody.
 *
 * @throws {TypeError} when it is something else
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

/** Most characters of a name that is said again; longer ones are no typing errors. */
const MAX_HINT = 40;

/** Says what a key has to look like, with the field that a bare name is probably meant to be. */
function expectedKey(value: unknown): string {
  const name = typeof value === "string" ? value.replace(/^header:/i, "").trim() : "";
  if (/^\$?(?:binary_)?(?:remote_addr|client_?ip|src)$/i.test(name)) {
    return `${KEY_SPEC_EXPECTED} ("ip" counts by the address of the client)`;
  }
  const long = name.length > MAX_HINT;
  if (long || !isToken(name) || ["header", "cookie", "query"].includes(name)) return KEY_SPEC_EXPECTED;
  return `${KEY_SPEC_EXPECTED} ("header:${name}" counts by a field)`;
}

/** A key as it stands in a configuration. */
export const KEY_SPEC: Rule = must((value) => parseKeySpec(value) !== undefined, expectedKey);

/** Reads a key as it stands in a configuration; `undefined` when it is not one. */
export function parseKeySpec(value: unknown): KeySpec | undefined {
  if (typeof value === "function") return value as KeyFunction;
  if (typeof value === "string") return isNamedKey(value) ? value : undefined;
  if (!Array.isArray(value) || value.length === 0) return undefined;
  return value.every((part) => typeof part === "string" && isNamedKey(part)) ? value : undefined;
}

/** Makes the function that takes the key; what it returns is never empty. */
export function compileKey<Ctx extends KeySource>(spec: KeySpec<Ctx>, options: KeyOptions = {}): CompiledKey {
  const { ipv6Prefix = 64 } = options;
  if (typeof spec === "function") {
    // The limiter passes the object that it got, which is a `Ctx`.
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

// The request is made when somebody asks for it, which costs as much as half of an exchange.
function fieldOf(source: KeySource, name: string): string | null {
  const { fields } = source;
  return fields === undefined ? receivedValue(source.request.headers, name) : fields.get(name);
}

function pathOf(source: KeySource): string | null {
  const { target } = source;
  const query = target.indexOf("?");
  return countedPath(query < 0 ? target : target.slice(0, query)) || null;
}

/** One host whatever its case, its port and the dot of an absolute name: spelling must not buy a second quota. */
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

/** Undoes the encoding: `a` and `%61` must not be two clients. What is no encoding stays as it is. */
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

// One client, one key: the network that an address belongs to.

/**
 * The text that stands for everybody in the same network as the address.
 *
 * An IPv4 address stands for itself, also when it is written as IPv6. An IPv6 address stands for its first
 * `ipv6Prefix` bits, because whoever has one usually has the whole network to choose from. What is no address stands
 * for itself.
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
