/** One request sent by `fetch`, from the first byte sent to the last byte received. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import {
  ClientGoneError,
  ProxyError,
  RequestError,
  UpstreamError,
  type UpstreamErrorCode,
} from "../../core/errors.ts";
import { resourceShortage } from "../../core/resource_shortage.ts";
import type { Bytes, RequestBody } from "../../http/message.ts";
import { type OutgoingRequest, responseIdleMs, type SendOptions, type ServerResponse } from "../transport.ts";
import {
  Download,
  FetchContent,
  FetchResponse,
  fromFetchFields,
  lengthOf,
  SizedBody,
  toFetchFields,
} from "./fetch_messages.ts";
import type { PeerClient } from "./peer_client.ts";

/** Controls one call of `fetch`: deadlines, cancellation, and both bodies. */
export class FetchExchange {
  readonly #options: SendOptions;
  readonly #wheel: DeadlineWheel;
  readonly #controller = new AbortController();
  /** Until the head of the response; then between two pieces of its content. */
  readonly #receiving: Deadline;
  /** Between two pieces of the request's content. */
  readonly #sending: Deadline;
  readonly #total: Deadline;
  /** Why this side has ended the exchange; a later error of `fetch` only repeats it. */
  #failure: ProxyError | null = null;
  #responded = false;
  #over = false;
  /** The content of the request while it is sent. */
  #upload: RequestBody | null = null;
  #download: Download | null = null;
  /** Whether the deadline of the request's content waits for the client or the server. */
  #uploadWaitsFor: "client" | "server" = "server";
  #listener: Disposable | null = null;
  #responseIdleMs = 0;
  /** Whether the response could be parsed in two ways, so that its connection must not be reused. */
  ambiguous = false;

  constructor(options: SendOptions, wheel: DeadlineWheel) {
    this.#options = options;
    this.#wheel = wheel;
    this.#receiving = wheel.deadline(() => this.#abort(this.#slowResponse()));
    this.#sending = wheel.deadline(() => this.#abort(this.#slowRequest()));
    this.#total = wheel.deadline(() => this.#abort(this.#slowExchange()));
  }

  /** Sends the request and waits for the head of the response. */
  async run(request: OutgoingRequest, peer: PeerClient): Promise<ServerResponse> {
    const { timeouts, cancellation, startedAt } = this.#options;
    const { method, target, headers } = request;
    const body = request.body === null || request.body.length === 0 ? null : request.body;
    this.#total.set(timeouts.totalMs, startedAt);
    // `fetch` does not report when it is connected.
    if (body === null) this.#receiving.set(timeouts.connectMs + timeouts.responseMs);
    else this.#sending.set(timeouts.connectMs + timeouts.idleMs);
    this.#listener = cancellation.listen((reason) => {
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
      // A 407 concerns this proxy, not the client (RFC 9110 section 15.5.8).
      if (response.status === 407 && peer.byForwarding) throw this.#abort(proxyRefused());
      return this.#take(response);
    } catch (error) {
      const failure = this.#failure ?? classifyFetchError(error, peer.dialFailure);
      this.#finish();
      throw failure;
    }
  }

  /** Prevents `fetch` from sending such a request twice: it never repeats a stream. */
  #emptyBody(method: string): SizedBody | null {
    return REPEATED_BY_FETCH.has(method)
      ? null
      : new SizedBody(0, new ReadableStream({ start: (c) => c.close() }));
  }

  #requestBody(body: RequestBody): SizedBody | ReadableStream<Bytes> {
    this.#upload = body;
    let left = body.length ?? Infinity;
    const stream = new ReadableStream<Bytes>({
      pull: async (controller) => {
        const piece = await this.#readUpload(body);
        // `fetch` has dropped the rest, as it does when the server responds early: the end of the content means
        // nothing here.
        if (this.#upload === null) return;
        if (piece !== null) {
          left -= piece.length;
          if (left < 0) {
            throw this.#abort(new RequestError("The request body is longer than its declared length"));
          }
          // A piece is lent, but `fetch` reads it later.
          return controller.enqueue(piece.slice());
        }
        if (left > 0 && left !== Infinity) {
          throw this.#abort(new RequestError("The request body is shorter than its declared length"));
        }
        this.#upload = null;
        this.#sending.clear();
        if (!this.#responded && !this.#over) this.#receiving.set(this.#options.timeouts.responseMs);
        controller.close();
      },
      cancel: () => void (this.#upload = null),
    }, { highWaterMark: 0 });
    return body.length === null ? stream : new SizedBody(body.length, stream);
  }

  #setSending(): void {
    if (!this.#over) this.#sending.set(this.#options.timeouts.idleMs);
  }

  async #readUpload(body: RequestBody): Promise<Bytes | null> {
    this.#uploadWaitsFor = "client";
    this.#setSending();
    try {
      const piece = await body.read();
      this.#uploadWaitsFor = "server";
      this.#setSending();
      return piece;
    } catch (error) {
      throw this.#abort(error instanceof ProxyError ? error : new ClientGoneError());
    }
  }

  #take(response: Response): ServerResponse {
    const { status, statusText, headers, body } = response;
    this.#responded = true;
    this.#receiving.clear();
    this.ambiguous = status < 200 || status > 599 ||
      (headers.has("transfer-encoding") && headers.has("content-length"));
    if (this.ambiguous) {
      throw this.#abort(
        protocolError(`Cannot pass on the response: status ${status} or its framing is not valid`),
      );
    }
    const fields = fromFetchFields(headers);
    const length = lengthOf(fields);
    this.#responseIdleMs = responseIdleMs(fields, this.#options.timeouts);
    let content: FetchContent | null = null;
    if (body === null || length === 0) {
      body?.cancel().catch(() => {});
      this.#finish();
    } else {
      const download = this.#download = new Download(body, length);
      content = new FetchContent(length === Infinity ? null : length, {
        read: () => this.#read(download),
        cancel: () => void this.#abort(new ClientGoneError()),
      });
    }
    return new FetchResponse(status, statusText, fields, content);
  }

  async #read(download: Download): Promise<Bytes | null> {
    if (!this.#over) this.#receiving.set(this.#responseIdleMs);
    const piece = await download.read().catch((error) => this.#abort(classifyBodyError(error)));
    this.#receiving.clear();
    if (this.#failure !== null || piece instanceof Error) throw this.#failure ?? piece;
    if (piece === null) this.#finish();
    return piece;
  }

  #slowResponse(): ProxyError {
    return this.#timeout("The upstream server did not respond in time");
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
      phase: this.#responded ? "answered" : "sent",
    });
  }

  /** Ends the exchange; closes its connection at once. */
  #abort(failure: ProxyError): ProxyError {
    if (this.#over) return this.#failure ?? failure;
    this.#failure ??= failure;
    this.#controller.abort(this.#failure);
    // The signal alone does not always end content that is in progress.
    this.#download?.cancel();
    this.#finish();
    return this.#failure;
  }

  /** Releases everything. */
  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#receiving.clear();
    this.#sending.clear();
    this.#total.clear();
    this.#listener?.[Symbol.dispose]();
    // A server that has already responded does not want the rest of the request.
    if (this.#responded) this.#upload?.cancel();
    this.#upload = null;
  }
}

/** Methods that may be sent again (RFC 9110 section 9.2.2), as `fetch` does when a kept connection is closed. */
const REPEATED_BY_FETCH: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

function proxyRefused(): UpstreamError {
  const code = "connection_refused";
  return new UpstreamError("The proxy on the way does not take the password", { code, phase: "sent" });
}

function protocolError(message: string): UpstreamError {
  return new UpstreamError(message, { code: "http_protocol_error", phase: "answered" });
}

// Errors of `fetch`, classified by their text, because they have no codes.

type Rule = readonly [words: RegExp, code: UpstreamErrorCode];

/** Before anything was sent: the text has `client error (Connect)`. */
const CONNECT_RULES: readonly Rule[] = [
  [/dns error/i, "dns_error"],
  [/certificate/i, "tls_certificate_error"],
  [/refused|no such file/i, "connection_refused"],
  [/timed out/i, "connection_timeout"],
  [/unreachable|no route/i, "destination_ip_unroutable"],
  [/corrupt message|alert|tls|handshake|peer is incompatible|peer misbehaved/i, "tls_protocol_error"],
];

/** After that, until the head of the response. */
const SEND_RULES: readonly Rule[] = [
  [/alert: .*certificate|certificate required/i, "tls_certificate_error"],
  [/alert/i, "tls_protocol_error"],
  [/\binvalid\b|too large|parsed|unexpected message|http2|uri/i, "http_protocol_error"],
  [/early end/i, "http_request_error"],
];

/** The request waited for a connection that was closed, and was never written. */
const NEVER_SENT = /\(Connect\)|\(ChannelClosed\)|operation was canceled|connection was not ready/;

/**
 * Makes an error with the reason and the phase of the failure.
 *
 * @param error the rejection of `fetch`
 * @param dialFailure why a `ConnectTunnel` could not connect to the server
 */
export function classifyFetchError(
  error: unknown,
  dialFailure: UpstreamErrorCode | null = null,
): UpstreamError {
  const described = describe(error);
  const unsent = NEVER_SENT.test(described);
  const shortage = unsent ? resourceShortage(error) : null;
  const text = shortage ?? described;
  let code = shortage === null ? codeOf(text, unsent ? CONNECT_RULES : SEND_RULES) : "out_of_resources";
  if (dialFailure !== null && text.includes("unsuccessful tunnel")) code = dialFailure;
  return new UpstreamError(`fetch failed: ${text}`, {
    code,
    phase: unsent ? "unsent" : "sent",
    cause: error,
  });
}

/** Makes the error for content of a response that failed. */
export function classifyBodyError(error: unknown): UpstreamError {
  return new UpstreamError(`The response was cut short: ${describe(error)}`, {
    code: "http_response_incomplete",
    phase: "answered",
    cause: error,
  });
}

function codeOf(text: string, rules: readonly Rule[]): UpstreamErrorCode {
  for (const [words, code] of rules) {
    if (words.test(text)) return code;
  }
  return "connection_terminated";
}

/** The text after the URL. The URL is sent by the client and may contain any text; it ends at the first `): `. */
function describe(error: unknown): string {
  const { cause } = error instanceof Error ? error : { cause: undefined };
  const text = cause instanceof Error
    ? cause.message
    : error instanceof Error
    ? error.message
    : String(error);
  const start = text.lastIndexOf("client error (");
  return start === -1 ? text : text.slice(start);
}
