/** The interface of transports. */

import type { Cancellation } from "../core/cancellation.ts";
import type { ProxyError, UpstreamError } from "../core/errors.ts";
import type { FieldLines } from "../http/field_lines.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { ProxyAddresses } from "../http1/proxy_protocol.ts";
import type { Body, Bytes, RequestBody, ResponseHead } from "../http/message.ts";
import type { Peer } from "../upstream/peer.ts";

/** A request for a server. */
export interface OutgoingRequest {
  method: string;
  /** Path and query of the request line; characters outside ASCII stand for their UTF-8 bytes. */
  target: string;
  /** Exactly the fields that are sent, including `host`; the transport adds framing fields. */
  readonly headers: HeaderFields;
  body: RequestBody | null;
  /** The target in the received bytes; `null` when {@linkcode target} is another one. */
  readonly targetBytes?: TargetBytes | null;
  /** Whether the fields ask the server to switch protocols (101). @default {false} */
  readonly upgrade?: boolean;
  /** The connection of the client, for servers that get a PROXY header; `null` without a client. @default {null} */
  readonly addresses?: ProxyAddresses | null;
  /** Whether the content waits until the server asks for it (RFC 9110 section 10.1.1). @default {false} */
  readonly expectsContinue?: boolean;
}

/** A target in received bytes. */
export interface TargetBytes {
  readonly lines: Pick<FieldLines, "bytes">;
  readonly targetStart: number;
  readonly targetEnd: number;
}

/** A connection that a server has switched to another protocol; disposing it closes it. */
export interface Tunnel extends Disposable {
  readonly socket: Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">;
  /** Whether the handshake has no key, as in HTTP/2 (RFC 8441 section 5). @default {false} */
  readonly keyless?: boolean;
  /** Bytes received after the head of the response. */
  readonly first: Bytes;
}

/** The head of a server's response, with its content or tunnel. */
export interface ServerResponse extends ResponseHead {
  /** The content; `null` when there is none. */
  body: Body | null;
  /** The connection, when the server has switched protocols. */
  readonly tunnel?: Tunnel | undefined;
  /**
   * Releases head and content: their buffers are reused from then on, and unread content is dropped. Must be called
   * in the end; a second call does nothing.
   *
   * @param keepsRequest whether the content of the request is still needed, to be sent again. @default {false}
   */
  release(keepsRequest?: boolean): void;
}

/** Time limits of the parts of an exchange, in milliseconds; `Infinity` for none. */
export interface Timeouts {
  /** TCP connection. */
  readonly connectMs: number;
  /** TLS handshake after it. */
  readonly tlsMs: number;
  /** From the end of the request until the head of the response. */
  readonly responseMs: number;
  /** Between two pieces of a body, in either direction. */
  readonly idleMs: number;
  /** The same for a response with server-sent events. @default {Infinity} */
  readonly eventStreamIdleMs?: number;
  /** The whole exchange, from {@linkcode SendOptions.startedAt} on. */
  readonly totalMs: number;
}

/** Time limit of the next piece of a response; server-sent events may be silent for longer. */
export function responseIdleMs(
  headers: HeaderFields,
  { idleMs, eventStreamIdleMs = Infinity }: Timeouts,
): number {
  const type = headers.get("content-type");
  return type !== null && /^text\/event-stream(?:$|[\s;])/i.test(type) ? eventStreamIdleMs : idleMs;
}

/** Options of one {@linkcode Transport.send}, and the callbacks for its outcome. */
export interface SendOptions {
  readonly timeouts: Timeouts;
  /** When the exchange started, in the clock's milliseconds; other servers may have been tried since. @default {now} */
  readonly startedAt?: number;
  /** Ends the exchange, and closes or frees its connection at once. */
  readonly cancellation: Cancellation;
  /**
   * Whether the request may be sent once more, on another connection to the same server, after a failure that only
   * means that a kept connection was stale. @default {no}
   */
  maySendAgain?(failure: UpstreamError): boolean;
  /** Called with the duration of connecting, if a new connection was needed. */
  connected?(durationMs: number): void;
  /** Called with an interim response other than 100 (RFC 9110 section 15.2); the fields are valid until it returns. */
  interim?(status: number, headers: HeaderFields): void;
  /**
   * Called with the head of the response; an error that it throws is not reported. Called once, unless {@linkcode failed}
   * is.
   */
  responded(response: ServerResponse): void;
  /** Called with the failure when there is no response. */
  failed(error: ProxyError): void;
}

/** Sends requests to servers; keeps its connections until it is disposed. */
export interface Transport extends Disposable {
  /**
   * Sends a request; calls the options with the response or the failure, at once or later.
   *
   * @param now the time, if the clock was just read
   */
  send(request: OutgoingRequest, peer: Peer, options: SendOptions, now?: number): void;
  /**
   * Whether trailers of responses are forwarded, so that `TE` may announce it to servers (RFC 9110 section 10.1.4).
   * @default {false}
   */
  readonly carriesTrailers?: boolean;
  /** How much of a request's content is read before there is a connection, in bytes. @default {0} */
  readonly readsAheadBytes?: number;
  /** Closes idle connections to a peer that is no longer used; running exchanges continue. */
  forget(peer: Peer): void;
}

/** The options of {@linkcode sendRequest}, which returns a promise. */
type RequestOptions = Omit<SendOptions, "responded" | "failed">;

/**
 * Sends a request and waits for the head of the response.
 *
 * @throws {UpstreamError} when there is none, with the phase of the failure
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
