/** The forms of DER (ITU-T X.690) that a certificate needs. */

/** Bytes of a part of a certificate. */
export type Der = Uint8Array<ArrayBuffer>;

/** Joins parts. */
export function concat(...parts: readonly Uint8Array[]): Der {
  const result = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** One value: its tag, its length, its content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Der {
  const body = concat(...content);
  const { length } = body;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return concat(Uint8Array.of(tag, ...size), body);
}

/** A list of values. */
export function sequence(...content: readonly Uint8Array[]): Der {
  return der(0x30, ...content);
}

/** A non-negative integer of any length. */
export function integer(bytes: Uint8Array): Der {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const trimmed = bytes.subarray(from);
  return der(0x02, trimmed[0]! >= 0x80 ? concat(Uint8Array.of(0), trimmed) : trimmed);
}

/** An object identifier from its dotted form. */
export function oid(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const digits = [part & 127];
    for (let left = part >> 7; left > 0; left >>= 7) digits.unshift((left & 127) | 128);
    bytes.push(...digits);
  }
  return der(0x06, Uint8Array.from(bytes));
}

/** UTF-8 text. */
export function utf8String(text: string): Der {
  return der(0x0c, new TextEncoder().encode(text));
}

/** A time before 2050, to the second (RFC 5280 section 4.1.2.5). */
export function time(date: Date): Der {
  const text = date.toISOString().slice(2).replace(/[-:T]|\.\d+/g, "");
  return der(0x17, new TextEncoder().encode(text));
}

/** PEM text of a value. */
export function pem(label: string, bytes: Uint8Array): string {
  const lines = bytes.toBase64().replace(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
