/** WebSocket frames as simple code, so that a test can write any frame. */

type Bytes = Uint8Array<ArrayBuffer>;

/** Deviations of a {@linkcode frame} from a valid server frame. */
export interface FrameShape {
  /** @default {true} */
  fin?: boolean;
  /** Four bytes, as required for clients. @default {none} */
  mask?: readonly number[];
}

/** One frame; its length is encoded in as few bytes as possible. */
export function frame(
  opcode: number,
  payload: Uint8Array | readonly number[] = [],
  shape: FrameShape = {},
): number[] {
  const { fin = true, mask } = shape;
  const { length } = payload;
  const first = (fin ? 0x80 : 0) | opcode;
  const bit = mask === undefined ? 0 : 0x80;
  const size = length < 126
    ? [bit | length]
    : length < 65536
    ? [bit | 126, length >> 8, length & 255]
    : [bit | 127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255];
  if (mask === undefined) return [first, ...size, ...payload];
  return [first, ...size, ...mask, ...Array.from(payload, (byte, i) => byte ^ mask[i & 3]!)];
}

/** Characters up to 255 as bytes. */
export function bytesOf(text: string): Bytes {
  return Uint8Array.from(text, (each) => each.charCodeAt(0));
}
