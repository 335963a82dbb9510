/** What every way of talking to a server has in common. */

import type { Cancellation } from "../core/cancellation.ts";
import type { ProxyError } from "../core/errors.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Peer } from "../upstream/peer.ts";

/** A request as it goes to a server. */
export interface OutgoingRequest {
  method: string;
  /** Path and query as they stand in the request line; what is not ASCII stands for its bytes in UTF-8. */
  target: string;
  /** Exactly the fields that are sent, `host` among them; framing fields are the transport's. */
  headers: HeaderFields;
  body: RequestBody | null;
  /** Whether the server may switch protocols (101), as the fields ask it to. @default {false} */
  upgrade?: boolean;
}

/** A connection that a server has given over to another protocol; disposing it closes it. */
export interface Tunnel extends Disposable {
  readonly socket: Deno.Conn;
  /** What came right behind the head of the answer. */
  readonly first: Uint8Array<ArrayBuffer>;
}

/** The content of a request; opened once for each attempt, disposed by the proxy once the request is settled. */
export interface RequestBody extends Disposable {
  /** Number of bytes when the client has declared it, otherwise `null`. */
  readonly length: number | null;
  /** The whole content when it is in memory already, otherwise `null`. */
  readonly bytes: Uint8Array<ArrayBuffer> | null;
  /** The content from its beginning. */
  open(): ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** Whom a body belongs to that was lent and not given away. */
export interface BodyLender {
  /** Takes the body back; whoever had it must not look at it again, or give it back twice. */
  giveBack(body: Uint8Array<ArrayBuffer>): void;
}

/** The head of a server's answer and the way to the rest. */
export interface UpstreamResponse {
  status: number;
  statusText: string;
  /** End-to-end and hop-by-hop fields as received, except for the framing that the transport has undone. */
  headers: HeaderFields;
  /** The content: whole when it came with the head, otherwise a stream that errors when it is cut short. */
  body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>> | null;
  /** Whom to give {@linkcode body} back to; without one it is the proxy's own. */
  lender?: BodyLender;
  /** The connection, when the server has switched protocols. */
  tunnel?: Tunnel;
}

/** How long each part of an exchange may take, in milliseconds; `Infinity` is for ever. */
export interface Timeouts {
  /** TCP connection, and the TLS handshake after it, each. */
  readonly connectMs: number;
  /** From the end of the request until the head of the response. */
  readonly responseMs: number;
  /** Between two pieces of a body, in either direction. */
  readonly idleMs: number;
  /** The whole exchange, from {@linkcode SendOptions.startedAt} on. */
  readonly totalMs: number;
}

/** What one call of {@linkcode Transport.send} takes beside the request. */
export interface SendOptions {
  readonly timeouts: Timeouts;
  /** When the exchange began, in the clock's milliseconds; other servers may have been tried since. @default {now} */
  readonly startedAt?: number;
  /** Calling it off ends the exchange and closes or frees its connection at once. */
  readonly cancellation: Cancellation;
  /** Whether a body in memory may be lent, because it is copied and given back before anything else happens. */
  readonly borrowsBody?: boolean;
  /**
   * Called exactly once when a response body that was handed out as a stream is over: read to its end (`null`),
   * cut short (the failure), or cancelled by its reader ({@linkcode ClientGoneError}); never for other bodies.
   * `bytes` is how much of it was handed over. Saves the proxy a second stream around each body. Called as a method of
   * the options, which are the proxy's own object for the request.
   */
  readonly onBodyEnd?: (bytes: number, failure: ProxyError | null) => void;
}

/** A way of talking to servers; keeps its connections until it is disposed. */
export interface Transport extends Disposable {
  /**
   * Sends a request and waits for the head of the answer.
   *
   * @param now the time, for callers that have just looked at the clock
   * @throws {UpstreamError} when there is none, with the phase in which it failed
   * @throws {ClientGoneError} when it was cancelled
   */
  send(
    request: OutgoingRequest,
    peer: Peer,
    options: SendOptions,
    now?: number,
  ): Promise<UpstreamResponse>;
  /** Closes what is kept for a peer that is not used any more; exchanges that run are finished. */
  forget(peer: Peer): void;
}
