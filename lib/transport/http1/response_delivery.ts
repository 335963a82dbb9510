/** The second half of a response: its content, whole or as a stream. */

import type { ProxyError } from "../../core/errors.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import type { SendOptions, UpstreamResponse } from "../transport.ts";
import type { BodyReader } from "./body_reader.ts";
import { BodyStream, type BodyStreamOwner, type PendingRead } from "./body_stream.ts";
import { LengthReader } from "./length_reader.ts";
import { responseBodyReader } from "./response_framing.ts";
import type { ResponseHead } from "./response_head.ts";
import type { RoundTrip } from "./round_trip.ts";
import { WholeBody } from "./whole_body.ts";

/** Bodies of a known length up to this are waited for, and handed over whole. */
const WHOLE_BODY_BYTES = 128 * 1024;

/** The connection as the delivery of its responses sees it. */
export interface ResponseDeliveryOwner extends BodyStreamOwner {
  /** A small body is waited for. */
  wholeAwaited(): void;
  /** The server was gone before a body that was waited for had come. */
  wholeLost(cause: unknown): void;
  /** The response is complete; `clean` unless bytes came, or may come, after it. */
  responseComplete(response: UpstreamResponse, clean: boolean): void;
  /** The response is handed over, and its body is a stream. */
  streamBegun(response: UpstreamResponse): void;
}

/** Hands over the responses of one connection, one after the other. */
export class ResponseDelivery {
  readonly #owner: ResponseDeliveryOwner;
  #options: SendOptions | null = null;
  #whole: WholeBody | null = null;
  #stream: BodyStream | null = null;

  constructor(owner: ResponseDeliveryOwner) {
    this.#owner = owner;
  }

  /**
   * Begins, now that the head is complete.
   *
   * @throws {UpstreamError} `http_protocol_error`
   */
  start(head: ResponseHead, { request, options }: RoundTrip): void {
    this.#options = options;
    const { parser, buffer, filled } = head;
    const { status, statusText, list, bodyStart } = parser;
    const reader = responseBodyReader(parser, request.method);
    const headers = HeaderFields.adopt(list);
    const response: UpstreamResponse = { status, statusText, headers, body: null };
    if (reader === null) {
      // A server that announces content with 204 may send it, and it would be taken for the next answer.
      const announced = status === 204 && (parser.chunked || parser.contentLength > 0);
      return this.#owner.responseComplete(response, !head.hasMore && !announced);
    }
    const expected = reader.atMost;
    reader.read(buffer, bodyStart, filled);
    const { contentStart, contentEnd } = reader;
    if (reader.done) {
      if (options.borrowsBody === true && head.lendable) {
        response.body = buffer.subarray(contentStart, contentEnd);
        response.lender = head.lend();
      } else response.body = buffer.slice(contentStart, contentEnd);
      return this.#owner.responseComplete(response, reader.next === filled);
    }
    if (expected <= WHOLE_BODY_BYTES) {
      this.#whole = new WholeBody(response, expected, buffer.subarray(contentStart, contentEnd));
      this.#owner.wholeAwaited();
      return this.#readWhole(this.#whole);
    }
    const first = contentEnd > contentStart ? buffer.slice(contentStart, contentEnd) : null;
    this.#startStream(response, reader, { first, pending: null });
  }

  /** Whether a small body is waited for. */
  get awaitsWhole(): boolean {
    return this.#whole !== null;
  }

  /** Waits no longer: what has come is handed over, and the rest as a stream. */
  streamTheRest(): void {
    const { response, begun, missing, pending } = this.#whole!;
    this.#whole = null;
    this.#startStream(response, new LengthReader(missing), { first: begun, pending });
  }

  /** Breaks off the stream; `false` when there is none. */
  fail(error: ProxyError): boolean {
    const stream = this.#stream;
    if (stream === null) return false;
    stream.fail(error);
    return true;
  }

  /** Lets go of the response. */
  clear(): void {
    this.#options = this.#whole = this.#stream = null;
  }

  #readWhole(whole: WholeBody): void {
    const count = whole.read(this.#owner);
    count.then(this.#onWholeRead, this.#onWholeFailed);
  }

  // The read may be over after the body was given up, or was made a stream of, which has the same read.
  readonly #onWholeRead = (count: number | null): void => {
    const whole = this.#whole;
    if (whole === null) return;
    if (count === null) return this.#owner.wholeLost(undefined);
    if (!whole.take(count)) return this.#readWhole(whole);
    whole.response.body = whole.bytes;
    this.#owner.responseComplete(whole.response, true);
  };

  readonly #onWholeFailed = (cause: unknown): void => {
    if (this.#whole !== null) this.#owner.wholeLost(cause);
  };

  #startStream(
    response: UpstreamResponse,
    reader: BodyReader,
    { first, pending }: { first: Uint8Array<ArrayBuffer> | null; pending: PendingRead | null },
  ): void {
    const owner = this.#owner;
    this.#stream = new BodyStream({ owner, reader, first, pending, options: this.#options! });
    response.body = new ReadableStream(this.#stream, { highWaterMark: 0 });
    if (first !== null) owner.paused();
    owner.streamBegun(response);
  }
}
