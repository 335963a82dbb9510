/** What stands between an engine, which talks to clients, and the steps of a request. */

import type { Cancellation, DeadlineWheel } from "../core/cancellation.ts";
import type { ProxyError } from "../core/errors.ts";
import type { ClientCertificate } from "../http/client_certificate.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Body, ResponseHead } from "../http/message.ts";
import type { TargetBytes, Tunnel } from "../transport/transport.ts";
import type { ResolvedWebSocket } from "../transport/websocket/web_socket_options.ts";

/** How a listener is reached, the same for all of its requests. */
export interface ListenerInfo {
  /** `"http"` or `"https"`. */
  readonly scheme: "http" | "https";
}

/** One request of a client, and the way back of its response. */
export interface ClientStream {
  readonly listener: ListenerInfo;
  /** Address of the other end of the connection; `""` on a unix socket. */
  readonly peerIp: string;
  /** Port of the other end; 0 on a unix socket. */
  readonly peerPort: number;
  /** The certificate of the other end; `null` when it has shown none. */
  readonly certificate: ClientCertificate | null;
  /** The address that the client has connected to; `""` when that is not known. */
  readonly localIp: string;
  /** The port of it. */
  readonly localPort: number;
  /** Version of TLS, such as `"TLSv1.3"`; `null` without it, or where the runtime does not tell. */
  readonly tlsVersion: string | null;
  /** `"HTTP/1.1"`, `"HTTP/1.0"` or `"HTTP/2"`. */
  readonly protocol: string;
  readonly method: string;
  /** Path and query, not normalised; bytes above 0x7F percent-encoded. */
  readonly target: string;
  /** The same as it came; what is not ASCII stands for its bytes in UTF-8, or for bytes that are none. */
  readonly receivedTarget: string;
  /** Where the target stands in bytes; `null` when it does not. */
  readonly targetBytes: TargetBytes | null;
  /** The host that the client asks for. */
  readonly host: string;
  /** Whether the client offers to switch protocols. */
  readonly upgrade: boolean;
  /** Whether a connection that was switched is passed through as it is, whatever it speaks; otherwise only WebSockets are relayed. */
  readonly tunnelsRaw: boolean;
  /** Whether the client waits for 100 (Continue) before it sends its content (RFC 9110 section 10.1.1). */
  readonly expectsContinue: boolean;
  /** The client's fields; good until the exchange is over, and never edited. */
  readonly headers: HeaderFields;
  /** The client's content; `null` when there is none. */
  readonly body: Body | null;

  /** Bytes of content that have come so far. */
  readonly bytesReceived: number;

  /** What `Deno.upgradeWebSocket()` can take; `null` where the runtime has no part in it. */
  readonly native: Request | null;

  /** Told of what becomes of the client; set by whoever handles the request. */
  exchange: StreamExchange | null;

  /** The client's fields once more, to be edited for a server; good as long as {@linkcode headers} are. */
  outgoingHeaders(): HeaderFields;
  /**
   * Sends the response; called once. The head, and content that is at hand, are copied before it returns.
   *
   * @param close ends the connection after it
   */
  respond(head: ResponseHead, body: Body | null, close?: boolean): void;
  /** Switches the client's connection over as well, and relays both ways until either side has ended. */
  switchProtocols(head: ResponseHead, tunnel: Tunnel, options: TunnelOptions): void;
  /**
   * Gives the client's connection to a function of the configuration, which has made this 101 of {@linkcode native}; the
   * exchange is over.
   */
  passUpgrade(response: Response): void;
  /** Sends nothing: the client has gone. */
  abandon(): void;
  /** Sends an interim response (RFC 9110 section 15.2), where the client can understand it. */
  interim(status: number, headers: HeaderFields): void;
}

/** What a tunnel takes beside its ends. */
export interface TunnelOptions {
  /** What the server has switched to, as its `Upgrade` field says. */
  readonly protocol: string;
  readonly webSocket: ResolvedWebSocket;
  /** Called off when the proxy stops: both sides are told then. */
  readonly cancellation: Cancellation;
  readonly wheel: DeadlineWheel;
}

/** The exchange, as its engine sees it. */
export interface StreamExchange {
  /** The client has gone, or nobody waits for the response any more. */
  callOff(reason: ProxyError): void;
  /** The content of the response broke off before any of the response was sent: another one can be given. */
  responseUnsent(error: ProxyError): void;
  /** Bytes of content that were sent so far. */
  bytesSent: number;
  /** The response has left, or broke off; `bytes` of its content were sent. */
  responseEnded(bytes: number, failure: ProxyError | null): void;
}

/** Takes the requests of an engine; never throws. */
export interface StreamHandler {
  handle(stream: ClientStream): void;
  /** A request that could not be read: its response is the error, and logged. */
  refuse(stream: ClientStream, error: ProxyError): void;
}
