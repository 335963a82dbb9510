/** The 64-bit hash of Fowler, Noll and Vo, in two halves because numbers hold 53 bits. */

/** A hash of 64 bits. */
export interface Hash64 {
  readonly high: number;
  readonly low: number;
}

/** What 2^40 + 0x1b3, the prime of FNV, adds to a shift by 40. */
const PRIME_LOW = 0x1b3;

/** FNV-1a of bytes, or of a text as UTF-8. */
export function fnv1a(data: string | Uint8Array): Hash64 {
  let high = 0xcbf29ce4 | 0;
  let low = 0x84222325 | 0;
  const text = typeof data === "string";
  for (let i = 0; i < data.length; i++) {
    const unit = text ? data.charCodeAt(i) : data[i]!;
    if (unit > 0x7f && text) return fnv1a(new TextEncoder().encode(data));
    low ^= unit;
    // What does not fit the lower half, from products of 16 bits: one product of 41 bits takes three times as long.
    const carry = ((low >>> 16) * PRIME_LOW + (((low & 0xffff) * PRIME_LOW) >>> 16)) >>> 16;
    high = (Math.imul(high, PRIME_LOW) + carry + (low << 8)) | 0;
    low = Math.imul(low, PRIME_LOW);
  }
  return { high: high >>> 0, low: low >>> 0 };
}

/** FNV-1a of a hash, as eight bytes with the lowest first. */
export function fnv1aAgain({ high, low }: Hash64): Hash64 {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, low, true);
  view.setUint32(4, high, true);
  return fnv1a(bytes);
}

/** The remainder of a hash; exact for divisors up to 2^26. */
export function remainder({ high, low }: Hash64, divisor: number): number {
  if (divisor > 0x10000) return ((high % divisor) * (2 ** 32 % divisor) + low) % divisor;
  // By pieces of 16 bits all numbers fit 32 bits, whose remainders cost a tenth of those of larger ones.
  const upper = (high >>> 0) % divisor;
  const middle = (((upper << 16) | (low >>> 16)) >>> 0) % divisor;
  return (((middle << 16) | (low & 0xffff)) >>> 0) % divisor;
}
