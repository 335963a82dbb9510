/** Request bodies for transports. */

import type { RequestBody } from "../../lib/transport/transport.ts";
import { latin1Bytes } from "./raw_connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A body that is in memory. */
export function bytesBody(content: Bytes | string): RequestBody {
  const bytes = typeof content === "string" ? latin1Bytes(content) : content;
  return { length: bytes.length, bytes, open: () => streamOf([bytes]), [Symbol.dispose]: () => {} };
}

/** A body that arrives piece by piece; without a length it has to be sent chunked. */
export function streamBody(
  content: ReadableStream<Bytes> | readonly string[],
  length: number | null = null,
): RequestBody {
  const open = () => content instanceof ReadableStream ? content : streamOf(content.map(latin1Bytes));
  return { length, bytes: null, open, [Symbol.dispose]: () => {} };
}

/** A stream of these pieces, each given out when it is asked for. */
export function streamOf(pieces: readonly Bytes[]): ReadableStream<Bytes> {
  let next = 0;
  return new ReadableStream<Bytes>({
    pull(controller) {
      const piece = pieces[next++];
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  }, { highWaterMark: 0 });
}

/** A body whose pieces the test hands out one at a time. */
export class ManualBody implements RequestBody {
  readonly length: number | null;
  readonly bytes = null;
  readonly #cancelled = Promise.withResolvers<unknown>();
  readonly #stream: ReadableStream<Bytes>;
  #controller!: ReadableStreamDefaultController<Bytes>;

  constructor(length: number | null = null) {
    this.length = length;
    this.#stream = new ReadableStream<Bytes>({
      start: (controller) => void (this.#controller = controller),
      cancel: (reason) => this.#cancelled.resolve(reason),
    });
  }

  /** Resolves when the transport does not want any more. */
  get cancelled(): Promise<unknown> {
    return this.#cancelled.promise;
  }

  open(): ReadableStream<Bytes> {
    return this.#stream;
  }

  /** Hands out a piece. */
  send(text: string): void {
    this.#controller.enqueue(latin1Bytes(text));
  }

  /** Ends the body. */
  end(): void {
    this.#controller.close();
  }

  [Symbol.dispose](): void {}

  /** Breaks the body off, as a client does that goes away. */
  fail(error: unknown): void {
    this.#controller.error(error);
  }
}
