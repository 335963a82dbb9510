/** Request bodies for transports. */

import { type Body, type Bytes, type RequestBody, StreamBody, WholeBody } from "../../lib/http/message.ts";
import { KeptBody } from "../../lib/proxy/kept_body.ts";
import { latin1Bytes } from "./raw_connection.ts";

/** A body in memory. */
export function bytesBody(content: Bytes | string): RequestBody {
  return new KeptBody(new WholeBody(typeof content === "string" ? latin1Bytes(content) : content));
}

/** A body that arrives in parts; without a length it must be sent chunked. */
export function streamBody(
  content: ReadableStream<Bytes> | readonly string[],
  length: number | null = null,
): RequestBody {
  const stream = content instanceof ReadableStream ? content : streamOf(content.map(latin1Bytes));
  return new KeptBody(new StreamBody(stream, length));
}

/** A stream of these parts, each provided on demand. */
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

/** A body whose parts the test sends one at a time. */
export class ManualBody extends KeptBody {
  readonly #cancelled: PromiseWithResolvers<unknown>;
  readonly #controller: ReadableStreamDefaultController<Bytes>;
  /** Number of reads. */
  reads = 0;

  constructor(length: number | null = null) {
    const cancelled = Promise.withResolvers<unknown>();
    let control!: ReadableStreamDefaultController<Bytes>;
    const stream = new ReadableStream<Bytes>({
      start: (controller) => void (control = controller),
      cancel: (reason) => cancelled.resolve(reason),
    });
    const source: Body = new StreamBody(stream, length);
    super(source);
    this.#cancelled = cancelled;
    this.#controller = control;
  }

  override read(): Promise<Bytes | null> {
    this.reads++;
    return super.read();
  }

  /** Resolves when the body is cancelled. */
  get cancelled(): Promise<unknown> {
    return this.#cancelled.promise;
  }

  /** Sends a part. */
  send(text: string): void {
    this.#controller.enqueue(latin1Bytes(text));
  }

  /** Ends the body. */
  end(): void {
    this.#controller.close();
  }

  /** Breaks the body off, like a client that disconnects. */
  fail(error: unknown): void {
    this.#controller.error(error);
  }
}
