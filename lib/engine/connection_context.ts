/** A connection of a client as its listener sees it, whatever it speaks, and the listener as its connections see it. */

import type { ClientLimits } from "../config/listen_options.ts";
import type { DeadlineWheel } from "../core/cancellation.ts";
import type { ProxyError } from "../core/errors.ts";
import type { ClientCertificate } from "../http/client_certificate.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { Underscores } from "../http/proxy_fields.ts";
import type { Bytes } from "../http/message.ts";
import type { BufferShelf } from "../http1/head_writer.ts";
import { HeadShelf } from "../http2/received_head.ts";
import type { ListenerInfo, StreamHandler } from "../proxy/client_stream.ts";

/** How long a connection that is idle waits for a request that is on its way, when the proxy stops or others want its place. */
export const LAST_REQUEST_MS = 250;

/** A connection of a client. */
export interface ListedConnection {
  /** Neighbours in the list of those that are idle. */
  previous: ListedConnection | null;
  next: ListedConnection | null;
  /** Its place among the connections of its listener. */
  index: number;
  /** Until when a request may be on its way, so that it is not given up for another client. */
  keptUntil: number;
  /** Whose it is, where connections of a client are counted; `""` where they are not. */
  client: string;
  readonly peerIp: string;
  /** The proxy stops: what is on its way already is served, and the connection ends behind it. */
  retire(): void;
  /** Ends it as soon as what runs is done; at once when nothing does. */
  drain(): void;
  /** Responds with the error, whatever the client is about to ask, and closes. */
  refuse(error: ProxyError): void;
  /** Closes it. */
  dispose(): void;
}

/** What all connections of a listener share. */
export interface ConnectionContext {
  readonly handler: StreamHandler;
  readonly listener: ListenerInfo;
  readonly shelf: BufferShelf;
  readonly wheel: DeadlineWheel;
  readonly limits: ClientLimits;
  /** What becomes of fields with underscores in their names. */
  readonly underscores: Underscores;
  /** Whether responses from now on end their connections. */
  readonly draining: boolean;
  /** Whether a client waits for another connection to end. */
  readonly crowded: boolean;
  /** The connection waits for a request, or has got one. */
  idle(connection: ListedConnection, idle: boolean): void;
  /** Whether its client may have one more connection; it counts as that client's from then on. */
  admits(connection: ListedConnection): boolean;
  /** The connection is closed. */
  closed(connection: ListedConnection): void;
}

// What an engine needs of a connection; a `Deno.Conn` is one.

/** A connection of a client. */
export interface Socket {
  /** Version of TLS; `null` where it is not known. @default {none} */
  readonly tlsVersion?: string | null;
  /** The certificate that the client has shown; none where it was not asked for one. */
  readonly certificate?: ClientCertificate | null;
  /** Reads into the buffer; `null` when the client sends no more. */
  read(buffer: Bytes): Promise<number | null>;
  /** Writes some of the bytes, and tells how many. */
  write(bytes: Bytes): Promise<number>;
  /** Tells the client that no more is sent. */
  closeWrite(): Promise<void>;
  /** Closes it. */
  close(): void;
}

// What the HTTP/2 connections of a listener share.

/** The fields of a request; lent to one request after the other. */
export interface RequestFieldsPair {
  readonly headers: HeaderFields;
  /** The same fields, as they go to a server. */
  readonly outgoing: HeaderFields;
}

/** Pairs that are kept for requests to come. */
const MAX_KEPT = 256;

/** The listener, and what its requests are read into. */
export class Http2Context {
  readonly listener: ConnectionContext;
  readonly heads: HeadShelf = new HeadShelf();
  readonly #pairs: RequestFieldsPair[] = [];

  constructor(listener: ConnectionContext) {
    this.listener = listener;
  }

  takeFields(): RequestFieldsPair {
    return this.#pairs.pop() ?? { headers: new HeaderFields(), outgoing: new HeaderFields() };
  }

  giveFields(pair: RequestFieldsPair): void {
    if (this.#pairs.length < MAX_KEPT) this.#pairs.push(pair);
  }
}
