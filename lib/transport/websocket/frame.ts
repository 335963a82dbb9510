/** Frames of RFC 6455: their kinds, close frames, and how frames are written and masked. */

type Bytes = Uint8Array<ArrayBuffer>;

/** Kinds of frames (section 5.2); those from 8 on are control frames. */
export const OPCODE = Object.freeze({
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
});

/** Most bytes of a control frame's payload (section 5.5). */
export const MAX_CONTROL_BYTES = 125;

/** Most bytes of the reason in a close frame, after its code. */
export const MAX_CLOSE_REASON_BYTES = MAX_CONTROL_BYTES - 2;

/** Represents a close frame without a code; never sent (section 7.4.1). */
export const NO_CLOSE_CODE = 1005;

/** A violation of RFC 6455 by one side, with the close code (section 7.4.1). */
export class WebSocketProtocolError extends Error {
  /** Name of the class. */
  override readonly name = "WebSocketProtocolError";
  readonly code: number;

  constructor(message: string, code = 1002) {
    super(message);
    this.code = code;
  }
}

/**
 * Whether a close frame may have the code (section 7.4): 1000 to 1003, 1007 to 1014 (1012 to 1014 by the IANA
 * registry), and 3000 to 4999. 1004 is reserved; 1005, 1006 and 1015 are never sent.
 */
export function isCloseCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

/** The content of a close frame. */
interface CloseFrame {
  /** {@linkcode NO_CLOSE_CODE} when it is empty. */
  readonly code: number;
  readonly reason: string;
}

/**
 * Reads the payload of a close frame (section 5.5.1).
 *
 * @throws {WebSocketProtocolError} 1002 for half a code or a code that is not allowed, 1007 for a reason that is not
 * UTF-8
 */
export function readClose(payload: Uint8Array): CloseFrame {
  if (payload.length === 0) return { code: NO_CLOSE_CODE, reason: "" };
  if (payload.length === 1) throw new WebSocketProtocolError("a close frame has half a code");
  const code = payload[0]! * 256 + payload[1]!;
  if (!isCloseCode(code)) throw new WebSocketProtocolError(`a close frame has the code ${code}`);
  return { code, reason: decodeText(payload.subarray(2)) };
}

/** Makes the payload of a close frame; a reason that is too long is cut between two characters. */
export function closePayload(code: number, reason: string): Bytes {
  if (code === NO_CLOSE_CODE) return new Uint8Array(0);
  const payload = new Uint8Array(MAX_CONTROL_BYTES);
  payload[0] = code >> 8;
  payload[1] = code & 0xff;
  const { written } = new TextEncoder().encodeInto(reason, payload.subarray(2));
  return payload.subarray(0, 2 + written);
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Decodes text (section 8.1).
 *
 * @throws {WebSocketProtocolError} 1007 when it is not UTF-8
 */
export function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new WebSocketProtocolError("a text is not UTF-8", 1007);
  }
}

/** Whether the machine is little-endian; masking by words relies on it. */
const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/** A complete control frame without a mask, as a server writes it. */
export function plainFrame(opcode: number, payload: Uint8Array): Bytes {
  const frame = new Uint8Array(2 + payload.length);
  frame[0] = 0x80 | opcode;
  frame[1] = payload.length;
  frame.set(payload, 2);
  return frame;
}

/** A complete control frame with a mask, as a client writes it. */
export function maskedFrame(opcode: number, payload: Uint8Array): Bytes {
  const frame = new Uint8Array(frameBytes(payload.length));
  writeFrame(frame, 0, opcode, payload, crypto.getRandomValues(new Uint8Array(4)));
  return frame;
}

/** Length of a masked frame with a payload of so many bytes. */
export function frameBytes(payloadBytes: number): number {
  return 6 + extraBytes(payloadBytes) + payloadBytes;
}

/** Bytes of the length after the second byte; as few as possible (RFC 6455 section 5.2). */
function extraBytes(payloadBytes: number): number {
  return payloadBytes < 126 ? 0 : payloadBytes < 65536 ? 2 : 8;
}

/**
 * Writes a complete frame, masked as a client must (RFC 6455 section 5.3).
 *
 * @param mask four unpredictable bytes
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
 * Applies or removes a mask from `start` to `end`; by words where aligned, which is four times as fast.
 *
 * @param offset index of the first byte within the payload of its frame
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

/** Makes masks of four random bytes; gets many at a time, since the call costs more than the bytes. */
export class Masks {
  readonly #bytes: Bytes = new Uint8Array(POOL_BYTES);
  #at = POOL_BYTES;

  /** The next mask; valid until the next call. */
  next(): Uint8Array {
    if (this.#at === POOL_BYTES) {
      crypto.getRandomValues(this.#bytes);
      this.#at = 0;
    }
    this.#at += 4;
    return this.#bytes.subarray(this.#at - 4, this.#at);
  }
}
