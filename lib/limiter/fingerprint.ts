/** Keys as 64-bit fingerprints: the table stores no text, so its size does not depend on what clients send. */

/** A fingerprint: two halves of 32 bits, as signed integers. */
export interface Fingerprint {
  low: number;
  high: number;
}

/**
 * Writes the fingerprint of a key to `into`: HalfSipHash-1-3 with 64 bits of result.
 *
 * (J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF", 2012; the variant for 32-bit words is in the
 * authors' reference code.) It is keyed, because clients choose the keys. A client that could find two keys with the
 * same fingerprint could spend another client's quota; a client that could find keys of one bucket could fill it. It
 * works on 32-bit words, because 64-bit integers are objects in JavaScript.
 *
 * The message is the text in Latin-1, like field values. Other text is hashed as UTF-16 under another constant.
 */
export function fingerprintKey(key: string, seedLow: number, seedHigh: number, into: Fingerprint): void {
  if (!hashUnits(key, 8, seedLow, seedHigh, into)) hashUnits(key, 16, seedLow, seedHigh, into);
}

const NARROW_FINISH = 0xee;
const WIDE_FINISH = 0xed;

/** Returns `false` if a character does not fit into `bits`; the result is then invalid. */
function hashUnits(key: string, bits: 8 | 16, seedLow: number, seedHigh: number, into: Fingerprint): boolean {
  const { length } = key;
  let v0 = seedLow;
  let v1 = seedHigh ^ 0xee;
  let v2 = 0x6c796765 ^ seedLow;
  let v3 = 0x74656462 ^ seedHigh;
  const inWord = 32 / bits;
  let seen = 0;
  let at = 0;
  for (; at + inWord <= length; at += inWord) {
    const first = key.charCodeAt(at);
    const second = key.charCodeAt(at + 1);
    let word = first | (second << bits);
    seen |= first | second;
    if (bits === 8) {
      const third = key.charCodeAt(at + 2);
      const fourth = key.charCodeAt(at + 3);
      word |= (third << 16) | (fourth << 24);
      seen |= third | fourth;
    }
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  // The reference puts the number of bytes into the top byte of the last word.
  let word = (length * (bits >> 3)) << 24;
  for (let shift = 0; at < length; at++, shift += bits) {
    const unit = key.charCodeAt(at);
    seen |= unit;
    word |= unit << shift;
  }
  if (bits === 8 && seen > 0xff) return false;
  const finish = bits === 8 ? NARROW_FINISH : WIDE_FINISH;
  // One round for the last word, three for each half of the result.
  for (let round = 0; round < 7; round++) {
    if (round === 0) v3 ^= word;
    else if (round === 4) {
      into.low = v1 ^ v3;
      v1 ^= 0xdd;
    }
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    if (round === 0) {
      v0 ^= word;
      v2 ^= finish;
    }
  }
  into.high = v1 ^ v3;
  return true;
}
