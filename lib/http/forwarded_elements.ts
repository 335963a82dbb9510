/** Reads the field `Forwarded` (RFC 7239 section 4). */

/** What one proxy says of the request that it got. */
export interface ForwardedElement {
  /** Who it got it from: an address, perhaps with a port, `unknown`, or a name of its own making. */
  readonly for: string | null;
  /** `Host` of the request that it got. */
  readonly host: string | null;
  /** Scheme of the request that it got. */
  readonly proto: string | null;
}

/** A name and its value, as a token or a quoted text. */
const PAIR = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z:[\]]+)|"((?:[^"\\]|\\.)*)")$/;

/** Reads the elements, the nearest proxy's last; one that cannot be read says nothing of anybody. */
export function readForwarded(field: string): ForwardedElement[] {
  return splitOutsideQuotes(field, ",").map((element) => {
    const pairs = new Map<string, string>();
    for (const pair of splitOutsideQuotes(element, ";")) {
      const match = PAIR.exec(pair);
      if (match === null) continue;
      pairs.set(match[1]!.toLowerCase(), match[2] ?? match[3]!.replaceAll(/\\(.)/g, "$1"));
    }
    return {
      for: pairs.get("for") ?? null,
      host: pairs.get("host") ?? null,
      proto: pairs.get("proto") ?? null,
    };
  });
}

function splitOutsideQuotes(text: string, separator: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "\\" && quoted) i++;
    else if (character === '"') quoted = !quoted;
    else if (character === separator && !quoted) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  parts.push(text.slice(start).trim());
  return parts.filter((part) => part !== "");
}

/** Writes an element; values that are no tokens are quoted. */
export function writeForwarded(clientIp: string, host: string, proto: string): string {
  const parts = clientIp === "" ? [] : [`for=${clientIp.includes(":") ? `"[${clientIp}]"` : clientIp}`];
  parts.push(/^[0-9A-Za-z.-]+$/.test(host) ? `host=${host}` : `host="${host.replaceAll(/["\\]/g, "\\$&")}"`);
  parts.push(`proto=${proto}`);
  return parts.join(";");
}
