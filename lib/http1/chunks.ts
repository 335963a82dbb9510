/** Content in chunks, written (RFC 9112 section 7.1). */

import type { HeadWriter } from "./head_writer.ts";

/** Writes a piece as one chunk; an empty piece is none, because that would end the content. */
export function writeChunk(writer: HeadWriter, piece: Uint8Array): void {
  if (piece.length === 0) return;
  writer.text(piece.length.toString(16) + "\r\n");
  writer.copy(piece, 0, piece.length);
  writer.text("\r\n");
}

/** Writes the end of the content, with trailer fields as name, value, name, value, ... */
export function writeLastChunk(writer: HeadWriter, trailers: readonly string[]): void {
  writer.text("0\r\n");
  for (let i = 0; i < trailers.length; i += 2) writer.line(trailers[i]!, trailers[i + 1]!);
  writer.end();
}
