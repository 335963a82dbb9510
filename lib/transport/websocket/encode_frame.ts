/** Writing of frames, and masks. */

type Bytes = Uint8Array<ArrayBuffer>;

/** Whether the machine stores the low byte of a word first; masking by words relies on it. */
const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/** A whole control frame without a mask, as a server writes it. */
export function plainFrame(opcode: number, payload: Uint8Array): Bytes {
  const frame = new Uint8Array(2 + payload.length);
  frame[0] = 0x80 | opcode;
  frame[1] = payload.length;
  frame.set(payload, 2);
  return frame;
}

/** A whole control frame with a mask, as a client writes it. */
export function maskedFrame(opcode: number, payload: Uint8Array): Bytes {
  const frame = new Uint8Array(frameBytes(payload.length));
  writeFrame(frame, 0, opcode, payload, crypto.getRandomValues(new Uint8Array(4)));
  return frame;
}

/** How many bytes a masked frame with so many bytes of payload takes. */
export function frameBytes(payloadBytes: number): number {
  return 6 + extraBytes(payloadBytes) + payloadBytes;
}

/** Bytes of the length behind the second byte; as few as it takes (RFC 6455 section 5.2). */
function extraBytes(payloadBytes: number): number {
  return payloadBytes < 126 ? 0 : payloadBytes < 65536 ? 2 : 8;
}

/**
 * Writes a whole frame, masked as a client has to (RFC 6455 section 5.3).
 *
 * @param mask four bytes that nobody can foresee
 * @returns where the frame ends
 */
export function writeFrame(
  target: Bytes,
  at: number,
  opcode: number,
  payload: Uint8Array,
  mask: Uint8Array,
): number {
  const { length } = payload;
  const extra = extraBytes(length);
  target[at] = 0x80 | opcode;
  target[at + 1] = 0x80 | (extra === 0 ? length : extra === 2 ? 126 : 127);
  let rest = length;
  for (let i = 0; i < extra; i++) {
    target[at + 1 + extra - i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  target.set(mask, at + 2 + extra);
  const begin = at + 6 + extra;
  target.set(payload, begin);
  applyMask(target, begin, begin + length, mask, 0);
  return begin + length;
}

/**
 * Puts a mask on, or takes it off, from `start` to `end`; by words as soon as the place allows it, which is four times as
 * fast.
 *
 * @param offset where the bytes begin within their frame
 */
export function applyMask(bytes: Bytes, start: number, end: number, mask: Uint8Array, offset: number): void {
  const { buffer, byteOffset } = bytes;
  const shift = offset - start;
  let at = start;
  while (at < end && ((byteOffset + at) & 3) !== 0) bytes[at] = bytes[at]! ^ mask[(at++ + shift) & 3]!;
  if (LITTLE_ENDIAN && end - at >= 4) {
    const words = new Uint32Array(buffer, byteOffset + at, (end - at) >>> 2);
    const byte = (index: number): number => mask[(at + shift + index) & 3]!;
    const word = byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
    for (let i = 0; i < words.length; i++) words[i] = words[i]! ^ word;
    at += words.length * 4;
  }
  while (at < end) bytes[at] = bytes[at]! ^ mask[(at++ + shift) & 3]!;
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
