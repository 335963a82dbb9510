/** What bytes may stand where in a message. */

/** 1 for the bytes of a field name or a method (RFC 9110 section 5.6.2, `tchar`). */
export const TOKEN_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < 128 && /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** 1 for the bytes of a field value: text, tab, and obs-text, but no other control character. */
export const VALUE_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f) ? 1 : 0,
);

/** The value of a hexadecimal digit, 255 for everything else. */
export const HEX_DIGITS: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => /[0-9a-fA-F]/.test(String.fromCharCode(byte)) ? parseInt(String.fromCharCode(byte), 16) : 255,
);

/** The bytes of a text that is known and ASCII. */
export function asciiBytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
