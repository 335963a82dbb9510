/** The checksum of IEEE 802.3, as memcached clients and nginx hash with it. */

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  return value;
});

/** Where a checksum begins, before any byte. */
export const CRC32_START = 0xffffffff;

/** Goes on with one more byte. */
export function crc32Byte(state: number, byte: number): number {
  return (state >>> 8) ^ TABLE[(state ^ byte) & 0xff]!;
}

/** Goes on with a number as four bytes, the lowest first. */
export function crc32Word(state: number, word: number): number {
  for (let shift = 0; shift < 32; shift += 8) state = crc32Byte(state, word >>> shift);
  return state;
}

/** Goes on with bytes, or with a text as UTF-8. */
export function crc32Update(state: number, data: string | Uint8Array): number {
  if (typeof data !== "string") {
    for (let i = 0; i < data.length; i++) state = crc32Byte(state, data[i]!);
    return state;
  }
  for (let i = 0; i < data.length; i++) {
    const unit = data.charCodeAt(i);
    // Anything but ASCII is rare in keys, and an encoder costs more than all the rest.
    if (unit > 0x7f) return crc32Update(state, new TextEncoder().encode(data.slice(i)));
    state = crc32Byte(state, unit);
  }
  return state;
}

/** Ends a checksum. */
export function crc32End(state: number): number {
  return ~state >>> 0;
}

/** The checksum of bytes, or of a text as UTF-8. */
export function crc32(data: string | Uint8Array): number {
  return crc32End(crc32Update(CRC32_START, data));
}
