/** The interface of transports. */

import type { Cancellation } from "../core/cancellation.ts";
import type { ProxyError, UpstreamError } from "../core/errors.ts";
import type { FieldLines } from "../http/field_lines.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { ProxyAddresses } from "../http1/proxy_protocol.ts";
import type { Body, Bytes, RequestBody, ResponseHead } from "../http/message.ts";
import type { Peer } from "../upstream/peer.ts";

/** A request as it goes to a server. */
export interface OutgoingRequest {
  method: string;
  /** Path and query as they stand in the request line; what is not ASCII stands for its bytes in UTF-8. */
  target: string;
  /** Exactly the fields that are sent, `host` among them; framing fields are the transport's. */
  readonly headers: HeaderFields;
  body: RequestBody | null;
  /** Where the target stands in bytes that were read as one; `null` when {@linkcode target} is another. */
  readonly targetBytes?: TargetBytes | null;
  /** Whether the server may switch protocols (101), as the fields ask it to. @default {false} */
  readonly upgrade?: boolean;
  /** Whose request it is, for servers that are told so; `null` when nobody's. @default {null} */
  readonly addresses?: ProxyAddresses | null;
  /** Whether the content waits until the server asks for it (RFC 9110 section 10.1.1). @default {false} */
  readonly expectsContinue?: boolean;
}

/** A target in the bytes that it came in. */
export interface TargetBytes {
  readonly lines: Pick<FieldLines, "bytes">;
  readonly targetStart: number;
  readonly targetEnd: number;
}

/** A connection that a server has given over to another protocol; disposing it closes it. */
export interface Tunnel extends Disposable {
  readonly socket: Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">;
  /** Whether the handshake has no key: that of HTTP/2 has none (RFC 8441 section 5). @default {false} */
  readonly keyless?: boolean;
  /** What came right behind the head of the response. */
  readonly first: Bytes;
}

/** The head of a server's response and the way to the rest. */
export interface ServerResponse extends ResponseHead {
  /** The content; `null` when there is none. */
  body: Body | null;
  /** The connection, when the server has switched protocols. */
  readonly tunnel?: Tunnel | undefined;
  /**
   * Lets go of head and content: the bytes that they stand in are used for something else from then on, and what was not
   * read is not wanted. Has to be called in the end; does nothing the second time.
   *
   * @param keepsRequest whether the content of the request is still wanted, to be sent again. @default {false}
   */
  release(keepsRequest?: boolean): void;
}

/** How long each part of an exchange may take, in milliseconds; `Infinity` is for ever. */
export interface Timeouts {
  /** TCP connection. */
  readonly connectMs: number;
  /** TLS handshake after it. */
  readonly tlsMs: number;
  /** From the end of the request until the head of the response. */
  readonly responseMs: number;
  /** Between two pieces of a body, in either direction. */
  readonly idleMs: number;
  /** The same for a response of server-sent events. @default {Infinity} */
  readonly eventStreamIdleMs?: number;
  /** The whole exchange, from {@linkcode SendOptions.startedAt} on. */
  readonly totalMs: number;
}

/** How long the next piece of a response may take: who waits for events waits for as long as nothing happens. */
export function responseIdleMs(
  headers: HeaderFields,
  { idleMs, eventStreamIdleMs = Infinity }: Timeouts,
): number {
  const type = headers.get("content-type");
  return type !== null && /^text\/event-stream(?:$|[\s;])/i.test(type) ? eventStreamIdleMs : idleMs;
}

/** What one call of {@linkcode Transport.send} takes in addition to the request, and who gets the response. */
export interface SendOptions {
  readonly timeouts: Timeouts;
  /** When the exchange began, in the clock's milliseconds; other servers may have been tried since. @default {now} */
  readonly startedAt?: number;
  /** Ends the exchange, and closes or frees its connection at once. */
  readonly cancellation: Cancellation;
  /**
   * Whether the request may be sent once more, on another connection to the same server, after a failure that tells
   * nothing but that a kept connection was stale. @default {no}
   */
  maySendAgain?(failure: UpstreamError): boolean;
  /** Takes how long a new connection took, where one was needed. */
  connected?(durationMs: number): void;
  /** Takes an interim response other than 100 (RFC 9110 section 15.2); the fields are good until it returns. */
  interim?(status: number, headers: HeaderFields): void;
  /** Takes the head of the response; what it throws is lost. Called once, unless {@linkcode failed} is. */
  responded(response: ServerResponse): void;
  /** Takes the failure when there is no response. */
  failed(error: ProxyError): void;
}

/** Sends requests to servers; keeps its connections until it is disposed. */
export interface Transport extends Disposable {
  /**
   * Sends a request; the options are told of the response or the failure, at once or later.
   *
   * @param now the time, if the clock was read just before
   */
  send(request: OutgoingRequest, peer: Peer, options: SendOptions, now?: number): void;
  /** Whether trailers of responses are passed on, so that a server may be told so by `TE` (RFC 9110 section 10.1.4). @default {false} */
  readonly carriesTrailers?: boolean;
  /** How much of a request's content is taken before there is a connection. @default {0} */
  readonly readsAheadBytes?: number;
  /** Closes what is kept for a peer that is not used any more; exchanges that run are finished. */
  forget(peer: Peer): void;
}

/** The options of {@linkcode Transport.send} for those who wait with a promise. */
type RequestOptions = Omit<SendOptions, "responded" | "failed">;

/**
 * Sends a request and waits for the head of the response.
 *
 * @throws {UpstreamError} when there is none, with the phase in which it failed
 * @throws {ClientGoneError} when it was cancelled
 */
export function sendRequest(
  transport: Transport,
  request: OutgoingRequest,
  peer: Peer,
  options: RequestOptions,
): Promise<ServerResponse> {
  return new Promise((responded, failed) => {
    transport.send(request, peer, { ...options, responded, failed });
  });
}
