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
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (let i = 0; i < data.length; i++) {
    const unit = typeof data === "string" ? data.charCodeAt(i) : data[i]!;
    if (unit > 0x7f && typeof data === "string") return fnv1a(new TextEncoder().encode(data));
    low = (low ^ unit) >>> 0;
    const product = low * PRIME_LOW;
    high = (Math.imul(high, PRIME_LOW) + Math.floor(product / 2 ** 32) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  return { high, low };
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
  return ((high % divisor) * (2 ** 32 % divisor) + low) % divisor;
}
