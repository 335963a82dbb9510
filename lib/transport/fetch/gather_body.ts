/** Waits a moment for small content of an answer, to hand it over whole. */

import type { DeadlineWheel } from "../../core/deadline_wheel.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Content of a known length up to this is worth the wait: as a stream it costs the runtime far more. */
export const WHOLE_BODY_BYTES: number = 128 * 1024;
/** How long it is waited for; then what has come is handed over, and the rest as a stream. */
const WHOLE_BODY_MS = 50;

const LATE = Symbol("late");

/** What has come of some content, and the read that goes on; `null` when that was all. */
export interface Gathered {
  readonly pieces: Bytes[];
  readonly pending: Promise<Bytes | null> | null;
}

/** Content of which nothing has been read. */
export function nothingGathered(): Gathered {
  return { pieces: [], pending: null };
}

/**
 * Reads until the end, or until it has taken too long.
 *
 * @param read gives the next piece, `null` at the end
 */
export async function gatherBody(read: () => Promise<Bytes | null>, wheel: DeadlineWheel): Promise<Gathered> {
  const { promise: late, resolve } = Promise.withResolvers<typeof LATE>();
  using deadline = wheel.deadline(() => resolve(LATE));
  deadline.set(WHOLE_BODY_MS);
  const pieces: Bytes[] = [];
  for (;;) {
    const pending = read();
    const piece = await Promise.race([pending, late]);
    if (piece === null) return { pieces, pending: null };
    if (piece === LATE) {
      // Whoever takes the stream is told of a failure; nobody may.
      pending.catch(() => {});
      return { pieces, pending };
    }
    pieces.push(piece);
  }
}

/** One piece of several. */
export function joinPieces(pieces: readonly Bytes[]): Bytes {
  if (pieces.length === 1) return pieces[0]!;
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
