/** What a client asked for, exactly as it asked. */

import { RequestError } from "../core/errors.ts";

/** Host and target of a request. */
interface RequestTarget {
  /** Host and port as the client wrote them. */
  readonly host: string;
  /** Path and query, neither decoded nor normalised; bytes above 0x7F percent-encoded. */
  readonly target: string;
  /** Path and query as they came; what is not ASCII stands for its bytes in UTF-8. */
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

/** Letters, digits and `-._~%!$&'()*+;=` (RFC 3986 `reg-name`; a comma would make a list of it). */
function isNameCharacter(code: number): boolean {
  return (code >= 0x61 && code <= 0x7a) || (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) ||
    code === 0x2d || code === 0x2e || code === 0x5f || code === 0x7e || code === 0x25 || code === 0x21 ||
    code === 0x24 || (code >= 0x26 && code <= 0x2b) || code === 0x3b || code === 0x3d;
}

/** Percent-encodes what is not ASCII, as UTF-8; everything else stays as it is. */
export function asciiTarget(text: string): string {
  // A lone half of a pair has no bytes.
  return text.replace(/\P{ASCII}+/gu, (run) => encodeURIComponent(run.toWellFormed()));
}

/** What a character is in a target. */
const [PATH_CHARACTER, SLASH, MARK, FORBIDDEN] = [0, 1, 2, 3];

/** By code: what stands for itself in a path, what does not (`MARK`), and what cannot stand in a request line. */
const CLASSES: Uint8Array = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  if (character === "/") return SLASH;
  if (/[A-Za-z0-9\-._~!$&'()*+,=:@]/.test(character)) return PATH_CHARACTER;
  return code <= 0x20 || character === "#" || code === 0x7f ? FORBIDDEN : MARK;
});

/** A space, a control character or a fragment: no target. */
const BAD = -1;
/** Bits of what {@linkcode scanTarget} finds. */
const NOT_ASCII = 1;
const MARKED = 2;

/** Looks once at every character of a target. */
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
 * Takes host and raw target out of what the runtime gives as the URL of a request.
 *
 * The runtime puts scheme and host before the target as it came. Parsing that as a URL would normalise it, and
 * filters, routes and servers would see different paths; a `Host` with a slash would even move into the path.
 *
 * The runtime reads the target as UTF-8, and refuses what is none before it gets here.
 *
 * @param url `request.url`
 * @param hostField the `Host` field; `null` when there is none
 * @param fallbackAuthority what the runtime takes for the host when the client has named none
 * @param hostRequired whether a client that names no host is refused; `localhost` is meant otherwise
 * @throws {RequestError} 400 when host or target are not what RFC 9112 section 3.2 asks for
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
  // HTTP/2 has no Host field but names the host otherwise; the fallback shows that nobody did.
  const unnamed = hostField === null && authority === fallbackAuthority;
  const host = hostField ?? (unnamed ? "localhost" : authority);
  if (!isHost(host)) {
    throw new RequestError(`The Host field must be one host, received ${JSON.stringify(host)}`);
  }
  if (unnamed && hostRequired) throw new RequestError("The request has no Host field");
  // The absolute form names the host a second time; two different ones are a way to slip past host rules.
  if (hostField !== null && authority !== host && authority.toLowerCase() !== host.toLowerCase()) {
    throw new RequestError(
      `The request target and the Host field must agree, received ${JSON.stringify(authority)} and ${
        JSON.stringify(host)
      }`,
    );
  }
  // The absolute form may go without the slash (RFC 9112 section 3.2.1).
  const received = url[pathStart] === "/" ? url.slice(pathStart) : `/${url.slice(pathStart)}`;
  const found = scanTarget(received, endOfPath(received));
  if (found === BAD) {
    throw new RequestError("The request target must not have spaces, control characters or a fragment");
  }
  return { host, target: (found & NOT_ASCII) === 0 ? received : asciiTarget(received), received };
}

/** What there is to know of the path of a target. */
export interface PathShape {
  /** Where it ends. */
  readonly end: number;
  /** Whether it has nothing that can be written, or read, in another way. */
  readonly plain: boolean;
}

/** Looks at the path of a target that is ASCII. */
export function shapeOfPath(target: string): PathShape {
  const end = endOfPath(target);
  return { end, plain: (scanTarget(target, end) & MARKED) === 0 };
}

function endOfPath(target: string): number {
  const query = target.indexOf("?");
  return query < 0 ? target.length : query;
}

/**
 * The target of a request that {@linkcode readTarget} refuses or was not asked about, for the log: what follows the
 * host that the runtime has put in front of it.
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

/** Length of the scheme with its slashes, -1 for a scheme that is not served; the longest is that of unix sockets. */
function lengthOfScheme(url: string): number {
  if (url.startsWith("http://")) return 7;
  if (url.startsWith("https://")) return 8;
  if (url.startsWith("http+unix://")) return 12;
  // The runtime leaves that of the absolute form as the client wrote it.
  return /^https?:\/\//i.exec(url)?.[0].length ?? -1;
}

/** Where path, query or nothing follows the authority; a `?` before the first slash begins a query. */
function endOfAuthority(url: string, start: number): number {
  const slash = url.indexOf("/", start);
  const end = slash < 0 ? url.length : slash;
  const query = url.indexOf("?", start);
  return query < 0 || query > end ? end : query;
}

// The name in a `Host` field, without what does not tell hosts apart.

/** One name whatever its case, its port and the dot of an absolute name. */
export function hostnameOf(host: string): string {
  let end = host.length;
  const colon = host.lastIndexOf(":");
  if (colon >= 0 && colon > host.lastIndexOf("]")) end = colon;
  if (host.charCodeAt(end - 1) === 0x2e) end--;
  return (end === host.length ? host : host.slice(0, end)).toLowerCase();
}
