/** Content that a filter has made, held to what the filter has said of it. */

import type { FilteredContent } from "../filter/filters.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The content that a filter returned, to be read once. */
export interface CheckedContent {
  readonly stream: ReadableStream<Bytes>;
  /** Number of bytes when the filter has declared it, otherwise `null`. */
  readonly length: number | null;
}

/**
 * Takes what a filter of content returned; `null` when it leaves the content alone.
 *
 * @param original what the filter was given
 * @throws {TypeError} when it is something else than content
 */
export function checkContent(
  made: FilteredContent,
  original: ReadableStream<Bytes>,
): CheckedContent | null {
  if (made === undefined || made === null) {
    if (original.locked) throw new TypeError("it reads the content and returned nothing in its place");
    return null;
  }
  const sized = !(made instanceof ReadableStream);
  const stream: unknown = sized ? made.body : made;
  if (!(stream instanceof ReadableStream)) {
    throw new TypeError("it must return a ReadableStream, { body, length } or nothing");
  }
  if (stream.locked) throw new TypeError("it returned a stream that is being read already");
  const length = sized ? made.length : null;
  if (length !== null && !(Number.isSafeInteger(length) && length >= 0)) {
    throw new TypeError(`the length must be a whole number of bytes, received ${String(length)}`);
  }
  return { stream: held(stream, length), length };
}

function held(stream: ReadableStream<unknown>, length: number | null): ReadableStream<Bytes> {
  const reader = stream.getReader();
  let seen = 0;
  return new ReadableStream<Bytes>({
    async pull(controller): Promise<void> {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) {
          if (length !== null && seen < length) throw mismatch(length, seen);
          return controller.close();
        }
        if (!(value instanceof Uint8Array)) {
          reader.cancel().catch(() => {});
          throw new TypeError(`its stream must give pieces of type Uint8Array, gave ${typeof value}`);
        }
        seen += value.byteLength;
        if (length !== null && seen > length) {
          reader.cancel().catch(() => {});
          throw mismatch(length, seen);
        }
        if (value.byteLength === 0) continue;
        return controller.enqueue(value as Bytes);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

function mismatch(declared: number, found: number): RangeError {
  return new RangeError(
    `it declared ${declared} bytes and gave ${found < declared ? "only " : ""}${found}${
      found > declared ? " or more" : ""
    }`,
  );
}
