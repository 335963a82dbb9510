/** Large bodies and their checksums, without storing them. */

import { createHash } from "node:crypto";

const PIECE = 65536;
/** A prime, so that a swapped, repeated or missing part changes the checksum. */
const PERIOD = 65521;
const PATTERN = Uint8Array.from({ length: PERIOD + PIECE }, (_, i) => ((i % PERIOD) * 167) >> 3);

/** SHA-256 of a stream in hexadecimal, and its length; `onPiece` is called for each part. */
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

/** A stream of `bytes` bytes that do not repeat at the size of a buffer; produced only as fast as it is read. */
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

/** The part of the pattern from `from`. */
function patternPiece(from: number, length: number): Uint8Array<ArrayBuffer> {
  const at = from % PERIOD;
  return PATTERN.slice(at, at + length);
}

/** Maximum amount of content in socket buffers and in both ends, if nothing else stores it. */
export const MOST_UNDER_WAY: number = 24 * 1024 * 1024;

/**
 * Measures the maximum of bytes sent and not yet received. The memory of the process is no measure, since it is freed
 * late.
 */
export class UnderWay {
  most = 0;
  #received = 0;

  /** Sets the number of bytes sent so far. */
  readonly sent = (bytes: number): void => {
    this.most = Math.max(this.most, bytes - this.#received);
  };

  /** Sets the number of bytes received so far. */
  readonly received = (bytes: number): void => {
    this.#received = bytes;
  };
}
