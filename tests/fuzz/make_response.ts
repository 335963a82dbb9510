/** Bytes that a hostile or broken server might send. */

import type { Random } from "../../lib/core/random.ts";
import { latin1Bytes } from "../support/raw_connection.ts";
import { HOSTILE_RESPONSES } from "../unit/transport/hostile_responses.ts";

/** Larger ones cost time and find nothing that smaller ones do not. */
const MAX_CORPUS_BYTES = 2000;
const SMALL = HOSTILE_RESPONSES.filter(({ bytes }) => bytes.length < MAX_CORPUS_BYTES);
const CORPUS = SMALL.map(({ bytes }) => bytes);
const GOOD = SMALL.filter(({ content }) => content !== undefined).map(({ bytes }) => bytes);

/** Pieces that mean something to a parser, put where they do not belong. */
const PIECES = [
  ..."\r\n,\r,\n,\r\n\r\n,:, ,\t,\0,;,0\r\n\r\n,HTTP/1.1 200 OK\r\n,HTTP/1.0 ,HTTP/1.1 100 Continue\r\n\r\n"
    .split(","),
  ..."Content-Length: ,Transfer-Encoding: chunked\r\n,Connection: close\r\n,chunked,0,1,2,ffffffff,\xff,\x80"
    .split(","),
  ...["Content-Length: 5\r\n", "\r\n5\r\nhello\r\n", "X: y\r\n", "a".repeat(300), "X: y\r\n".repeat(250)],
];

/** Makes one, by chance from nothing, out of known ones, or out of pieces. */
export function makeResponse(random: Random): Uint8Array<ArrayBuffer> {
  const way = random();
  if (way < 0.1) return noise(random, below(random, 400));
  if (way < 0.2) return latin1Bytes(fromPieces(random));
  // What is wrong at its beginning is refused there, and shows nothing about what comes after it.
  let text = pick(random, random() < 0.7 ? GOOD : CORPUS);
  for (let edits = below(random, 4); edits > 0; edits--) text = edit(random, text);
  return latin1Bytes(text);
}

/** Ascending places to cut so many bytes at. */
export function makeCuts(random: Random, length: number): number[] {
  const cuts = Array.from({ length: below(random, 8) }, () => below(random, length + 1));
  // Where one byte arrives at a time, every state of a reader meets the end of its bytes.
  if (length < 200 && random() < 0.1) return Array.from({ length }, (_, index) => index);
  return cuts.sort((a, b) => a - b);
}

function edit(random: Random, text: string): string {
  const at = below(random, text.length + 1);
  const to = Math.min(text.length, at + 1 + below(random, 8));
  const way = random();
  if (way < 0.25) return text.slice(0, at) + String.fromCharCode(below(random, 256)) + text.slice(at + 1);
  if (way < 0.5) return text.slice(0, at) + pick(random, PIECES) + text.slice(at);
  if (way < 0.65) return text.slice(0, at) + text.slice(to);
  if (way < 0.8) return text.slice(0, to) + text.slice(at);
  if (way < 0.9) return text.slice(0, at) + pick(random, CORPUS).slice(-below(random, 60));
  return text.slice(0, at);
}

function fromPieces(random: Random): string {
  let text = random() < 0.8 ? "HTTP/1.1 200 OK\r\n" : "";
  for (let count = below(random, 12); count > 0; count--) text += pick(random, PIECES);
  return text;
}

function noise(random: Random, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => below(random, 256));
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

function pick<T>(random: Random, items: readonly T[]): T {
  return items[below(random, items.length)]!;
}
