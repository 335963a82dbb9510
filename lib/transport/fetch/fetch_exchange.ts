/** One request by `fetch`, from the first byte sent to the last byte received. */

import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import { ClientGoneError, ProxyError, RequestError, UpstreamError } from "../../core/errors.ts";
import type { HeaderFields } from "../../http/header_fields.ts";
import type { OutgoingRequest, RequestBody, SendOptions, UpstreamResponse } from "../transport.ts";
import { classifyBodyError, classifyFetchError } from "./classify_fetch_error.ts";
import { Download } from "./download.ts";
import { fromFetchFields, toFetchFields } from "./fetch_fields.ts";
import { gatherBody, type Gathered, joinPieces, nothingGathered, WHOLE_BODY_BYTES } from "./gather_body.ts";
import type { PeerClient } from "./peer_client.ts";
import { SizedBody } from "./sized_body.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Watches over one call of `fetch`: deadlines, cancellation, and both bodies. */
export class FetchExchange {
  readonly #options: SendOptions;
  readonly #wheel: DeadlineWheel;
  readonly #controller = new AbortController();
  /** Until the head of the answer, then between two pieces of its content. */
  readonly #receiving: Deadline;
  /** Between two pieces of the request's content. */
  readonly #sending: Deadline;
  readonly #total: Deadline;
  /** Why the exchange was ended by us; what `fetch` says afterwards is only its echo. */
  #failure: ProxyError | null = null;
  #answered = false;
  #over = false;
  #upload: ReadableStreamDefaultReader<Bytes> | null = null;
  #download: Download | null = null;
  /** Whether the answer's content was handed over as a stream, whose end is the end of the exchange. */
  #streams = false;
  /** Whom a deadline that runs is for. */
  #uploadWaitsFor: "client" | "server" = "server";
  #downloadWaitsFor: "client" | "server" = "server";
  /** How much of the answer's content was handed over. */
  #bytes = 0;

  constructor(options: SendOptions, wheel: DeadlineWheel) {
    this.#options = options;
    this.#wheel = wheel;
    this.#receiving = wheel.deadline(() => this.#abort(this.#slowAnswer()));
    this.#sending = wheel.deadline(() => this.#abort(this.#slowRequest()));
    this.#total = wheel.deadline(() => this.#abort(this.#slowExchange()));
  }

  /** Sends the request and waits for the head of the answer. */
  async run(request: OutgoingRequest, peer: PeerClient): Promise<UpstreamResponse> {
    const { timeouts, cancellation, startedAt } = this.#options;
    const { method, target, headers } = request;
    const body = request.body === null || request.body.length === 0 ? null : request.body;
    this.#total.set(timeouts.totalMs, startedAt);
    // `fetch` does not tell when it is connected.
    if (body === null) this.#receiving.set(timeouts.connectMs + timeouts.responseMs);
    else this.#sending.set(timeouts.connectMs + timeouts.idleMs);
    cancellation.listen((reason) => {
      this.#abort(reason instanceof ProxyError ? reason : new ClientGoneError());
    });
    try {
      const response = await fetch(peer.url(target, headers.get("host")), {
        method,
        headers: toFetchFields(headers, peer.namesHost),
        body: body === null ? this.#emptyBody(method) : this.#requestBody(body),
        redirect: "manual",
        signal: this.#controller.signal,
        client: peer.client,
      });
      // Not for the client, which has no part in that proxy (RFC 9110 section 15.5.8).
      if (response.status === 407 && peer.byForwarding) throw this.#abort(proxyRefused());
      return await this.#take(response);
    } catch (error) {
      const failure = this.#failure ?? classifyFetchError(error, peer.dialFailure);
      this.#finish();
      throw failure;
    }
  }

  /** Keeps `fetch` from sending such a request twice: it never does with a stream. */
  #emptyBody(method: string): SizedBody | null {
    return REPEATED_BY_FETCH.has(method)
      ? null
      : new SizedBody(0, new ReadableStream({ start: (c) => c.close() }));
  }

  #requestBody(body: RequestBody): SizedBody | ReadableStream<Bytes> {
    const reader = this.#upload = body.open().getReader();
    let left = body.length ?? Infinity;
    const stream = new ReadableStream<Bytes>({
      pull: async (controller) => {
        const { done, value } = await this.#readUpload(reader);
        // `fetch` has given the rest up, as it does when the server answers early: that it ends here means nothing.
        if (this.#upload === null) return;
        if (!done) {
          left -= value.length;
          if (left < 0) {
            throw this.#abort(new RequestError("The request body is longer than its declared length"));
          }
          return controller.enqueue(value);
        }
        if (left > 0 && left !== Infinity) {
          throw this.#abort(new RequestError("The request body is shorter than its declared length"));
        }
        this.#upload = null;
        this.#sending.clear();
        if (!this.#answered && !this.#over) this.#receiving.set(this.#options.timeouts.responseMs);
        controller.close();
      },
      cancel: () => this.#stopUpload(),
    }, { highWaterMark: 0 });
    return body.length === null ? stream : new SizedBody(body.length, stream);
  }

  #setSending(): void {
    if (!this.#over) this.#sending.set(this.#options.timeouts.idleMs);
  }

  async #readUpload(reader: ReadableStreamDefaultReader<Bytes>): Promise<ReadableStreamReadResult<Bytes>> {
    this.#uploadWaitsFor = "client";
    this.#setSending();
    try {
      const result = await reader.read();
      this.#uploadWaitsFor = "server";
      this.#setSending();
      return result;
    } catch (error) {
      throw this.#abort(error instanceof ProxyError ? error : new ClientGoneError());
    }
  }

  async #take(response: Response): Promise<UpstreamResponse> {
    const { status, statusText, headers, body } = response;
    this.#answered = true;
    this.#receiving.clear();
    const doubtful = status < 200 || status > 599 ||
      (headers.has("transfer-encoding") && headers.has("content-length"));
    if (doubtful) {
      throw this.#abort(
        protocolError(`Cannot pass on the response: status ${status} or its framing is not valid`),
      );
    }
    const answer: UpstreamResponse = { status, statusText, headers: fromFetchFields(headers), body: null };
    const length = lengthOf(answer.headers);
    if (body === null || length === 0) {
      body?.cancel().catch(() => {});
      this.#finish();
      return answer;
    }
    const download = this.#download = new Download(body, length);
    const gathered = length > WHOLE_BODY_BYTES
      ? nothingGathered()
      : await gatherBody(() => this.#read(download), this.#wheel);
    // It may have been ended in the very turn in which the wait was: then whoever takes the stream would not be told.
    if (this.#failure !== null) throw this.#failure;
    if (length > WHOLE_BODY_BYTES || gathered.pending !== null) {
      answer.body = this.#stream(download, gathered);
    } else {
      answer.body = joinPieces(gathered.pieces);
      this.#finish();
    }
    return answer;
  }

  async #read(download: Download): Promise<Bytes | null> {
    const { idleMs } = this.#options.timeouts;
    this.#downloadWaitsFor = "server";
    if (!this.#over) this.#receiving.set(idleMs);
    const piece = await download.read().catch((error) => this.#abort(classifyBodyError(error)));
    this.#downloadWaitsFor = "client";
    if (!this.#over) this.#receiving.set(idleMs);
    if (this.#failure !== null || piece instanceof Error) throw this.#failure ?? piece;
    return piece;
  }

  #stream(download: Download, { pieces, pending }: Gathered): ReadableStream<Bytes> {
    this.#streams = true;
    if (!this.#over) this.#receiving.set(this.#options.timeouts.idleMs);
    let begun = pending;
    return new ReadableStream<Bytes>({
      pull: async (controller) => {
        let piece: Bytes | null | undefined = pieces.shift();
        if (piece === undefined) {
          piece = await (begun ?? this.#read(download));
          begun = null;
        }
        if (piece === null) {
          this.#end(null);
          return controller.close();
        }
        this.#bytes += piece.length;
        controller.enqueue(piece);
      },
      cancel: () => void this.#abort(new ClientGoneError()),
    }, { highWaterMark: 0 });
  }

  #slowAnswer(): ProxyError {
    return this.#downloadWaitsFor === "client"
      ? new ClientGoneError("The client took the response too slowly")
      : this.#timeout("The upstream server did not answer in time");
  }

  #slowRequest(): ProxyError {
    return this.#uploadWaitsFor === "client"
      ? new RequestError("The request body came too slowly", 408)
      : this.#timeout("The upstream server stopped reading the request");
  }

  #slowExchange(): ProxyError {
    return this.#upload !== null && this.#uploadWaitsFor === "client"
      ? new RequestError("The request body came too slowly", 408)
      : this.#timeout("The exchange took too long");
  }

  #timeout(message: string): UpstreamError {
    return new UpstreamError(message, {
      code: "http_response_timeout",
      phase: this.#answered ? "answered" : "sent",
    });
  }

  /** Ends the exchange; closes its connection at once. */
  #abort(failure: ProxyError): ProxyError {
    if (this.#over) return this.#failure ?? failure;
    this.#failure ??= failure;
    this.#controller.abort(this.#failure);
    // The signal alone does not always end content that is flowing.
    this.#download?.cancel();
    if (this.#streams) this.#end(this.#failure);
    return this.#failure;
  }

  #end(failure: ProxyError | null): void {
    if (this.#finish()) this.#options.onBodyEnd?.(this.#bytes, failure);
  }

  #stopUpload(): void {
    const upload = this.#upload;
    this.#upload = null;
    upload?.cancel().catch(() => {});
  }

  /** Lets go of everything; `false` when that has been done before. */
  #finish(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#receiving.clear();
    this.#sending.clear();
    this.#total.clear();
    this.#options.cancellation.listen(null);
    this.#stopUpload();
    return true;
  }
}

/** Methods that may be sent again (RFC 9110 section 9.2.2), as `fetch` does when a kept connection turns out closed. */
const REPEATED_BY_FETCH: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** How long the content is that `fetch` gives out; it undoes a coding, and does not know then. */
function lengthOf(headers: HeaderFields): number {
  const declared = headers.get("content-length");
  return declared === null || headers.has("content-encoding") ? Infinity : Number(declared);
}

function proxyRefused(): UpstreamError {
  const code = "connection_refused";
  return new UpstreamError("The proxy on the way does not take the password", { code, phase: "sent" });
}

function protocolError(message: string): UpstreamError {
  return new UpstreamError(message, { code: "http_protocol_error", phase: "answered" });
}
