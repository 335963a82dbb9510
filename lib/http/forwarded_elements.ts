/** Reads the field `Forwarded` (RFC 7239 section 4). */

/** What one proxy says of the request that it got. */
interface ForwardedElement {
  /** Who it got it from: an address, perhaps with a port, `unknown`, or a name of its own making. */
  readonly for: string | null;
  /** `Host` of the request that it got. */
  readonly host: string | null;
  /** Scheme of the request that it got. */
  readonly proto: string | null;
}

/** The end of a field that can be read. */
interface ReadableForwarded {
  /** What each proxy says, the nearest one last. */
  readonly elements: readonly ForwardedElement[];
  /** The elements as they came; `""` when there are none. */
  readonly text: string;
}

/** A pair and what ends it, as a token or a quoted text; white space around it is let pass. */
const PAIR =
  /[ \t]*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z:[\]]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?(;|$)/y;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

/**
 * Reads the elements from the end on, as far as they are such: each proxy adds its own there, and what stands to the left of
 * one that cannot be read was perhaps made to swallow those behind it.
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

/** Where the last element of the text up to `end` begins: behind the nearest comma that is not quoted. */
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

/** An element; `null` when it is none, is empty, or says something twice (RFC 7239 section 4). */
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
