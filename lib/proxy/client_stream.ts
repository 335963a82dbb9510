/** What stands between an engine, which talks to clients, and the steps of a request. */

import type { ProxyError } from "../core/errors.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Body, ResponseHead } from "../http/message.ts";
import type { TargetBytes } from "../transport/transport.ts";

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
  /** `"HTTP/1.1"`, `"HTTP/1.0"` or `"HTTP/2"`. */
  readonly protocol: string;
  readonly method: string;
  /** Path and query, neither decoded nor normalised. */
  readonly target: string;
  /** Where the target stands in bytes; `null` when it does not. */
  readonly targetBytes: TargetBytes | null;
  /** The host that the client asks for. */
  readonly host: string;
  /** The client's fields; good until the exchange is over, and never edited. */
  readonly headers: HeaderFields;
  /** The client's content; `null` when there is none. */
  readonly body: Body | null;

  /** Told of what becomes of the client; set by whoever handles the request. */
  exchange: StreamExchange | null;

  /** Sends the response; called once. The head, and content that is at hand, are copied before it returns. */
  respond(head: ResponseHead, body: Body | null): void;
  /** Sends an interim response (RFC 9110 section 15.2), where the client can understand it. */
  interim(status: number, headers: HeaderFields): void;
}

/** The exchange, as its engine sees it. */
export interface StreamExchange {
  /** The client has gone, or nobody waits for the response any more. */
  callOff(reason: ProxyError): void;
  /** The response has left, or broke off; `bytes` of its content were sent. */
  responseEnded(bytes: number, failure: ProxyError | null): void;
}

/** Takes the requests of an engine; never throws. */
export interface StreamHandler {
  handle(stream: ClientStream): void;
  /** A request that could not be read: it is answered with the error, and logged. */
  refuse(stream: ClientStream, error: ProxyError): void;
}
