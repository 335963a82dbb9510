/** A connection of a client as its listener sees it, whatever it speaks, and the listener as its connections see it. */

import type { ClientLimits } from "../config/client_limits.ts";
import type { DeadlineWheel } from "../core/deadline_wheel.ts";
import type { ProxyError } from "../core/errors.ts";
import type { Underscores } from "../http/screen_fields.ts";
import type { BufferShelf } from "../http1/buffer_shelf.ts";
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
  /** Answers with the error, whatever the client is about to ask, and closes. */
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
