/** Frames as a client sends them. */

type Bytes = Uint8Array<ArrayBuffer>;

/** Whether the machine stores the low byte of a word first; masking by words relies on it. */
const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/**
 * Makes a whole frame, masked as a client has to (RFC 6455 section 5.3).
 *
 * @param mask four bytes that nobody can foresee
 */
export function encodeFrame(opcode: number, payload: Uint8Array, mask: Uint8Array): Bytes {
  const { length } = payload;
  const extra = length < 126 ? 0 : length < 65536 ? 2 : 8;
  const headLength = 6 + extra;
  const frame = new Uint8Array(headLength + length);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (extra === 0 ? length : extra === 2 ? 126 : 127);
  let rest = length;
  for (let i = 0; i < extra; i++) {
    frame[1 + extra - i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  frame.set(mask, 2 + extra);
  frame.set(payload, headLength);
  maskInPlace(frame, headLength, mask);
  return frame;
}

/** Applies the mask from an offset on; by words as soon as the offset allows it, which is four times as fast. */
function maskInPlace(frame: Bytes, offset: number, mask: Uint8Array): void {
  let at = offset;
  const end = frame.length;
  while (at < end && (at & 3) !== 0) frame[at] = frame[at]! ^ mask[(at++ - offset) & 3]!;
  if (LITTLE_ENDIAN && end - at >= 4) {
    const words = new Uint32Array(frame.buffer, at, (end - at) >>> 2);
    const byte = (index: number): number => mask[(at - offset + index) & 3]!;
    const word = byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
    for (let i = 0; i < words.length; i++) words[i] = words[i]! ^ word;
    at += words.length * 4;
  }
  while (at < end) frame[at] = frame[at]! ^ mask[(at++ - offset) & 3]!;
}

const POOL_BYTES = 4096;

/** Gives masks, four random bytes each; asks for many at a time, since asking costs more than the bytes. */
export class Masks {
  readonly #bytes: Bytes = new Uint8Array(POOL_BYTES);
  #at = POOL_BYTES;

  /** The next one; good until the next call. */
  next(): Uint8Array {
    if (this.#at === POOL_BYTES) {
      crypto.getRandomValues(this.#bytes);
      this.#at = 0;
    }
    this.#at += 4;
    return this.#bytes.subarray(this.#at - 4, this.#at);
  }
}
