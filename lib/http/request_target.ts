/** The host and the target of a request, exactly as the client sent them. */

import { RequestError } from "../core/errors.ts";

/** Host and target of a request. */
interface RequestTarget {
  /** Host and port as the client wrote them. */
  readonly host: string;
  /** Path and query, neither decoded nor normalised; bytes above 0x7F are percent-encoded. */
  readonly target: string;
  /** Path and query as received; characters outside ASCII stand for their UTF-8 bytes. */
  readonly received: string;
}

/**
 * Whether the text is a host with an optional port (RFC 9110 section 7.2): a registered name, an IPv4 address or
 * an IPv6 address in brackets, without anything that could be read as another part of a URL.
 */
export function isHost(text: string): boolean {
  let colon = -1;
  let bracketed = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5b && i === 0) { // [
      i = text.indexOf("]");
      if (i < 0 || !isIpv6Text(text, 1, i)) return false;
      bracketed = true;
    } else if (code === 0x3a) { // :
      if (colon >= 0) return false;
      colon = i;
    } else if (colon >= 0) {
      if (code < 0x30 || code > 0x39) return false;
    } else if (bracketed || !isNameCharacter(code)) {
      return false;
    }
  }
  const nameLength = colon >= 0 ? colon : text.length;
  return nameLength > 0 && nameLength <= 255;
}

function isIpv6Text(text: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i) | 0x20;
    const hex = (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66);
    if (!hex && text[i] !== ":" && text[i] !== ".") return false;
  }
  return end > start + 1;
}

/** Letters, digits and `-._~%!$&'()*+;=` (RFC 3986 `reg-name`; a comma would make it a list). */
function isNameCharacter(code: number): boolean {
  return (code >= 0x61 && code <= 0x7a) || (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) ||
    code === 0x2d || code === 0x2e || code === 0x5f || code === 0x7e || code === 0x25 || code === 0x21 ||
    code === 0x24 || (code >= 0x26 && code <= 0x2b) || code === 0x3b || code === 0x3d;
}

/** Percent-encodes characters outside ASCII, as UTF-8; everything else stays as it is. */
export function asciiTarget(text: string): string {
  // A lone surrogate has no UTF-8 bytes.
  return text.replace(/\P{ASCII}+/gu, (run) => encodeURIComponent(run.toWellFormed()));
}

/** The classes of characters in a target. */
const [PATH_CHARACTER, SLASH, MARK, FORBIDDEN] = [0, 1, 2, 3];

/** The class of each code: allowed in a path as it is, not so (`MARK`), or not allowed in a request line. */
const CLASSES: Uint8Array = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  if (character === "/") return SLASH;
  if (/[A-Za-z0-9\-._~!$&'()*+,=:@]/.test(character)) return PATH_CHARACTER;
  return code <= 0x20 || character === "#" || code === 0x7f ? FORBIDDEN : MARK;
});

/** A space, a control character or a fragment: the target is invalid. */
const BAD = -1;
/** Flags in the result of {@linkcode scanTarget}. */
const NOT_ASCII = 1;
const MARKED = 2;

/** Checks every character of a target once. */
function scanTarget(target: string, pathEnd: number): number {
  let found = 0;
  for (let i = 0; i < pathEnd; i++) {
    const code = target.charCodeAt(i);
    if (code > 0x7f) {
      found = NOT_ASCII | MARKED;
      continue;
    }
    switch (CLASSES[code]) {
      case PATH_CHARACTER:
        break;
      case SLASH: {
        const next = target.charCodeAt(i + 1);
        if (next === 0x2f || next === 0x2e) found |= MARKED;
        break;
      }
      case MARK:
        found |= MARKED;
        break;
      default:
        return BAD;
    }
  }
  for (let i = pathEnd; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (code > 0x7f) found |= NOT_ASCII;
    else if (CLASSES[code] === FORBIDDEN) return BAD;
  }
  return found;
}

/**
 * Reads host and raw target from the URL of a request of the runtime.
 *
 * The runtime puts scheme and host before the received target. Parsing that as a URL would normalise it, and filters,
 * routes and servers would see different paths; a `Host` with a slash would even become part of the path.
 *
 * The runtime reads the target as UTF-8, and refuses invalid UTF-8 before this is called.
 *
 * @param url `request.url`
 * @param hostField the `Host` field; `null` when there is none
 * @param fallbackAuthority the host that the runtime assumes when the client has named none
 * @param hostRequired whether a client that names no host is refused; otherwise the host is `localhost`
 * @throws {RequestError} 400 when host or target are not as RFC 9112 section 3.2 requires
 */
export function readTarget(
  url: string,
  hostField: string | null,
  fallbackAuthority: string,
  hostRequired = true,
): RequestTarget {
  const authorityStart = lengthOfScheme(url);
  if (authorityStart < 0) throw new RequestError("The scheme of the request target must be http or https");
  const pathStart = endOfAuthority(url, authorityStart);
  const authority = url.slice(authorityStart, pathStart);
  // HTTP/2 names the host without a Host field; the fallback shows that the client named no host.
  const unnamed = hostField === null && authority === fallbackAuthority;
  const host = hostField ?? (unnamed ? "localhost" : authority);
  if (!isHost(host)) {
    throw new RequestError(`The Host field must be one host, received ${JSON.stringify(host)}`);
  }
  if (unnamed && hostRequired) throw new RequestError("The request has no Host field");
  // The absolute form names the host a second time; two different hosts could bypass rules for hosts.
  if (hostField !== null && authority !== host && authority.toLowerCase() !== host.toLowerCase()) {
    throw new RequestError(
      `The request target and the Host field must agree, received ${JSON.stringify(authority)} and ${
        JSON.stringify(host)
      }`,
    );
  }
  // The absolute form may lack the slash (RFC 9112 section 3.2.1).
  const received = url[pathStart] === "/" ? url.slice(pathStart) : `/${url.slice(pathStart)}`;
  const found = scanTarget(received, endOfPath(received));
  if (found === BAD) {
    throw new RequestError("The request target must not have spaces, control characters or a fragment");
  }
  return { host, target: (found & NOT_ASCII) === 0 ? received : asciiTarget(received), received };
}

/** Facts about the path of a target. */
export interface PathShape {
  /** Where it ends. */
  readonly end: number;
  /** Whether it has no part that can be written, or read, in another way. */
  readonly plain: boolean;
}

/** Examines the path of an ASCII target. */
export function shapeOfPath(target: string): PathShape {
  const end = endOfPath(target);
  return { end, plain: (scanTarget(target, end) & MARKED) === 0 };
}

function endOfPath(target: string): number {
  const query = target.indexOf("?");
  return query < 0 ? target.length : query;
}

/**
 * The target of a request that {@linkcode readTarget} refuses or has not read, for the log: the part after the host
 * that the runtime has put before it.
 */
export function targetOf({ method, url, headers }: Pick<Request, "method" | "url" | "headers">): string {
  const start = lengthOfScheme(url);
  if (start < 0) return url;
  if (method === "CONNECT") return url.slice(start);
  const host = headers.get("host");
  // A host with a slash would look like a part of the path.
  const named = host !== null && host !== "" && url.startsWith(host, start);
  return url.slice(named ? start + host.length : endOfAuthority(url, start)) || "/";
}

/** Length of the scheme with its slashes; -1 for a scheme that is not supported. The longest is that of unix sockets. */
function lengthOfScheme(url: string): number {
  if (url.startsWith("http://")) return 7;
  if (url.startsWith("https://")) return 8;
  if (url.startsWith("http+unix://")) return 12;
  // In the absolute form the runtime keeps the scheme as the client wrote it.
  return /^https?:\/\//i.exec(url)?.[0].length ?? -1;
}

/** Where the path or query begins after the authority, or the end; a `?` before the first slash begins a query. */
function endOfAuthority(url: string, start: number): number {
  const slash = url.indexOf("/", start);
  const end = slash < 0 ? url.length : slash;
  const query = url.indexOf("?", start);
  return query < 0 || query > end ? end : query;
}

// The name in a `Host` field, normalised.

/** The name in lower case, without the port and without the final dot of an absolute name. */
export function hostnameOf(host: string): string {
  let end = host.length;
  const colon = host.lastIndexOf(":");
  if (colon >= 0 && colon > host.lastIndexOf("]")) end = colon;
  if (host.charCodeAt(end - 1) === 0x2e) end--;
  return (end === host.length ? host : host.slice(0, end)).toLowerCase();
}
