/** Large bodies and their checksums, without keeping them. */

import { createHash } from "node:crypto";

const PIECE = 65536;
/** A prime, so a piece that is swapped, doubled or left out changes the checksum. */
const PERIOD = 65521;
const PATTERN = Uint8Array.from({ length: PERIOD + PIECE }, (_, i) => ((i % PERIOD) * 167) >> 3);

/** SHA-256 of a stream in hexadecimal, and how many bytes went by; `onPiece` hears of these as they do. */
export async function checksum(
  stream: ReadableStream<Uint8Array> | Uint8Array | null,
  onPiece: (received: number) => void = () => {},
): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash("sha256");
  let bytes = 0;
  const pieces = stream === null ? [] : stream instanceof Uint8Array ? [stream] : stream;
  for await (const piece of pieces) {
    hash.update(piece);
    bytes += piece.length;
    onPiece(bytes);
  }
  return { sha256: hash.digest("hex"), bytes };
}

/** A stream of `bytes` bytes that never repeat at the length of a buffer; made only as fast as it is read. */
export function patternStream(
  bytes: number,
  onPiece: (sent: number) => void = () => {},
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let sent = 0;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (sent >= bytes) return controller.close();
      const piece = patternPiece(sent, Math.min(PIECE, bytes - sent));
      sent += piece.length;
      onPiece(sent);
      controller.enqueue(piece);
    },
  }, { highWaterMark: 0 });
}

/** The part of the pattern that begins at `from`. */
function patternPiece(from: number, length: number): Uint8Array<ArrayBuffer> {
  const at = from % PERIOD;
  return PATTERN.slice(at, at + length);
}

/** What sockets and both ends may hold between them of content that nobody keeps. */
export const MOST_UNDER_WAY: number = 24 * 1024 * 1024;

/** How much of content is under way at most: sent, and not received yet. Memory says little of it, as it comes in again late. */
export class UnderWay {
  most = 0;
  #received = 0;

  /** Takes in how many bytes were sent so far. */
  readonly sent = (bytes: number): void => {
    this.most = Math.max(this.most, bytes - this.#received);
  };

  /** Takes in how many have arrived. */
  readonly received = (bytes: number): void => {
    this.#received = bytes;
  };
}
