/** The interface between an engine, which serves clients, and the steps of a request. */

import type { Cancellation, DeadlineWheel } from "../core/cancellation.ts";
import type { ProxyError } from "../core/errors.ts";
import type { ClientCertificate } from "../http/client_certificate.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Body, ResponseHead } from "../http/message.ts";
import type { TargetBytes, Tunnel } from "../transport/transport.ts";
import type { ResolvedWebSocket } from "../transport/websocket/web_socket_options.ts";

/** A listener, the same for all of its requests. */
export interface ListenerInfo {
  /** `"http"` or `"https"`. */
  readonly scheme: "http" | "https";
}

/** One request of a client, and the way of its response. */
export interface ClientStream {
  readonly listener: ListenerInfo;
  /** Address of the peer of the connection; `""` on a unix socket. */
  readonly peerIp: string;
  /** Port of the peer; 0 on a unix socket. */
  readonly peerPort: number;
  /** The certificate of the peer; `null` without one. */
  readonly certificate: ClientCertificate | null;
  /** The address that the client has connected to; `""` when unknown. */
  readonly localIp: string;
  /** The port that the client has connected to. */
  readonly localPort: number;
  /** Version of TLS, such as `"TLSv1.3"`; `null` without TLS, or when the runtime does not report it. */
  readonly tlsVersion: string | null;
  /** `"HTTP/1.1"`, `"HTTP/1.0"` or `"HTTP/2"`. */
  readonly protocol: string;
  readonly method: string;
  /** Path and query, not normalised; bytes above 0x7F are percent-encoded. */
  readonly target: string;
  /** The same as received; characters outside ASCII stand for their UTF-8 bytes, or for invalid bytes. */
  readonly receivedTarget: string;
  /** The target in the received bytes; `null` when it is not stored in bytes. */
  readonly targetBytes: TargetBytes | null;
  /** The requested host. */
  readonly host: string;
  /** Whether the client offers to switch protocols. */
  readonly upgrade: boolean;
  /**
   * Whether a switched connection is passed through unchanged, for any protocol; otherwise only WebSockets are
   * relayed.
   */
  readonly tunnelsRaw: boolean;
  /** Whether the client waits for 100 (Continue) before it sends its content (RFC 9110 section 10.1.1). */
  readonly expectsContinue: boolean;
  /** The client's fields; valid until the exchange has ended, and never edited. */
  readonly headers: HeaderFields;
  /** The client's content; `null` when there is none. */
  readonly body: Body | null;

  /** Bytes of content received so far. */
  readonly bytesReceived: number;

  /** The request for `Deno.upgradeWebSocket()`; `null` with an engine that does not support it. */
  readonly native: Request | null;

  /** Receives events of the client; set by the handler of the request. */
  exchange: StreamExchange | null;

  /** A copy of the client's fields, to be edited for a server; valid as long as {@linkcode headers}. */
  outgoingHeaders(): HeaderFields;
  /**
   * Sends the response; called once. The head, and content that is in memory, are copied before it returns.
   *
   * @param close whether to close the connection after it
   */
  respond(head: ResponseHead, body: Body | null, close?: boolean): void;
  /** Switches the client's connection too, and relays both directions until either side has ended. */
  switchProtocols(head: ResponseHead, tunnel: Tunnel, options: TunnelOptions): void;
  /**
   * Passes the client's connection to a function of the configuration, which has made this 101 from
   * {@linkcode native}; the exchange has ended.
   */
  passUpgrade(response: Response): void;
  /** Sends nothing: the client has closed. */
  abandon(): void;
  /** Sends an interim response (RFC 9110 section 15.2), if the client supports it. */
  interim(status: number, headers: HeaderFields): void;
}

/** Options of a tunnel. */
export interface TunnelOptions {
  /** The new protocol, from the `Upgrade` field of the server. */
  readonly protocol: string;
  readonly webSocket: ResolvedWebSocket;
  /** Cancelled when the proxy stops: then both sides are closed. */
  readonly cancellation: Cancellation;
  readonly wheel: DeadlineWheel;
}

/** The exchange of an engine's stream. */
export interface StreamExchange {
  /** The client has closed, or the response is no longer wanted. */
  callOff(reason: ProxyError): void;
  /** The content of the response failed before any of the response was sent: another response can be sent. */
  responseUnsent(error: ProxyError): void;
  /** Bytes of content sent so far. */
  bytesSent: number;
  /** The response was sent, or failed; `bytes` of its content were sent. */
  responseEnded(bytes: number, failure: ProxyError | null): void;
}

/** Receives the requests of an engine; never throws. */
export interface StreamHandler {
  handle(stream: ClientStream): void;
  /** A malformed request: the error is its response, and is logged. */
  refuse(stream: ClientStream, error: ProxyError): void;
}
