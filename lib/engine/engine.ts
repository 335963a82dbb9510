/** The common interfaces of the engines, which serve clients. */

import type { ClientLimits, ResolvedListen } from "../config/listen_options.ts";
import type { DeadlineWheel } from "../core/cancellation.ts";
import type { ProxyError } from "../core/errors.ts";
import type { ClientCertificate } from "../http/client_certificate.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { Bytes } from "../http/message.ts";
import type { Underscores } from "../http/proxy_fields.ts";
import type { BufferShelf } from "../http1/head_writer.ts";
import { HeadShelf } from "../http2/received_head.ts";
import type { ProxyEvent } from "../observe/events.ts";
import type { ListenerMeter } from "../observe/metrics/meters.ts";
import type { ListenerInfo, StreamHandler } from "../proxy/client_stream.ts";

/** Listens at one address until it is stopped. */
export interface EngineListener {
  /** The address for clients, as `host:port` or `unix:/path`. */
  readonly address: string;
  /** Applies new options, with the same address and engine, and TLS as before. */
  update(listen: ResolvedListen): void;
  /**
   * Accepts no new connections, closes idle ones soon, and resolves once all requests have a response. A successor
   * can bind the address as soon as the engine can release it.
   */
  stop(): Promise<void>;
  /** Closes every connection. */
  cut(): void;
}

/** Why a client was refused for its certificate, or for having none. */
type ClientRefusal = Omit<ProxyEvent<"client_certificate">, "kind" | "address">;

/** The events of a listener. */
export interface ListenerEvents {
  /** Counts connections; `null` for no counting. @default {null} */
  readonly meter?: ListenerMeter | null;
  /** Accepting fails; called once, until it has worked again for a while. */
  readonly onError: (address: string, error: unknown) => void;
  /** Accepting works again; `afterMs` is how long it did not. */
  readonly onRecovery: (address: string, afterMs: number) => void;
  /**
   * The files of a certificate have changed: why the new one is not used (`null` when it is), and its names if there
   * are several certificates.
   */
  readonly onCertificate: (address: string, problem: string | null, names?: readonly string[]) => void;
  /** A client was refused because of its certificate. */
  readonly onClientRefused: (address: string, refusal: ClientRefusal) => void;
  /** A function of the configuration, with this name, has thrown. */
  readonly onCallbackError: (name: string, error: unknown) => void;
}

/** An address could not be opened for listening. */
export class ListenError extends Error {
  /** Name of the class. */
  override readonly name = "ListenError";

  /** @internal Whether another listener uses the address. */
  get inUse(): boolean {
    return isInUse(this.cause);
  }
}

function isInUse(error: unknown): boolean {
  // Errors of `node:net` differ only in their codes.
  return error instanceof Deno.errors.AddrInUse || (error as { code?: unknown })?.code === "EADDRINUSE";
}

/** Makes the error for an address that could not be opened. */
export function listenError(place: string, error: unknown): ListenError {
  return new ListenError(`Cannot listen at ${place}: ${reasonOf(error, place)}`, { cause: error });
}

function reasonOf(error: unknown, place: string): string {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  if (isInUse(error)) return "the address is in use";
  if (code === "EADDRNOTAVAIL") return "this machine does not have the address";
  if (code === "EACCES" || error instanceof Deno.errors.PermissionDenied) {
    return "permission denied by the system";
  }
  if (error instanceof Deno.errors.NotCapable) {
    return `run with ${place.startsWith("unix:") ? missingFor(place.slice(5)) : "--allow-net"}`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** A unix socket needs permissions to read and write too; the runtime names only one of the missing ones. */
function missingFor(path: string): string {
  const needed = [
    { name: "net", host: `unix:${path}` },
    { name: "read", path },
    { name: "write", path },
  ] as const;
  return needed.filter((each) => Deno.permissions.querySync(each).state !== "granted")
    .map(({ name }) => `--allow-${name}`).join(", ");
}

// A client's connection as its listener sees it, for any protocol, and the listener as its connections see it.

/**
 * How long an idle connection waits for a request in transit, when the proxy stops or another client needs the
 * connection's place.
 */
export const LAST_REQUEST_MS = 250;

/** A connection of a client. */
export interface ListedConnection {
  /** Neighbours in the list of idle connections. */
  previous: ListedConnection | null;
  next: ListedConnection | null;
  /** Index among the connections of its listener. */
  index: number;
  /** Until when a request may be in transit, so that the connection is not closed for another client. */
  keptUntil: number;
  /** The client it counts for, if connections of a client are limited; otherwise `""`. */
  client: string;
  readonly peerIp: string;
  /** The proxy stops: requests in transit are served, and then the connection is closed. */
  retire(): void;
  /** Closes the connection if it has no request. */
  drain(): void;
  /** Responds to the next request with the error, and closes. */
  refuse(error: ProxyError): void;
  /** Closes the connection. */
  dispose(): void;
}

/** Shared by all connections of a listener. */
export interface ConnectionContext {
  readonly handler: StreamHandler;
  readonly listener: ListenerInfo;
  readonly shelf: BufferShelf;
  readonly wheel: DeadlineWheel;
  readonly limits: ClientLimits;
  /** What to do with fields that have underscores in their names. */
  readonly underscores: Underscores;
  /** Whether responses from now on close their connections. */
  readonly draining: boolean;
  /** Whether a client waits for another connection to end. */
  readonly crowded: boolean;
  /** The connection has become idle, or has received a request. */
  idle(connection: ListedConnection, idle: boolean): void;
  /** Whether its client may have one more connection; from then on it counts for that client. */
  admits(connection: ListedConnection): boolean;
  /** The connection is closed. */
  closed(connection: ListedConnection): void;
}

// The interface of a connection that an engine needs; a `Deno.Conn` has it.

/** A connection of a client. */
export interface Socket {
  /** Version of TLS; `null` when it is unknown. @default {none} */
  readonly tlsVersion?: string | null;
  /** The certificate of the client; none if it was not asked for one. */
  readonly certificate?: ClientCertificate | null;
  /** Reads into the buffer; `null` at the end of the client's bytes. */
  read(buffer: Bytes): Promise<number | null>;
  /** Writes some of the bytes; returns how many. */
  write(bytes: Bytes): Promise<number>;
  /**
   * Reads like `read`, but calls back as soon as bytes arrive. A promise would resume after the runtime has tried to read more,
   * which costs one system call before each request.
   */
  readThen?(buffer: Bytes, onRead: (count: number | null) => void, onFailed: (error: unknown) => void): void;
  /** Writes like `write`, but calls back. */
  writeThen?(bytes: Bytes, onWritten: (count: number) => void, onFailed: (error: unknown) => void): void;
  /** Ends the sending direction. */
  closeWrite(): Promise<void>;
  /** Closes the connection. */
  close(): void;
}

// Shared by the HTTP/2 connections of a listener.

/** The fields of a request; reused for one request after another. */
export interface RequestFieldsPair {
  readonly headers: HeaderFields;
  /** The same fields, as they are sent to a server. */
  readonly outgoing: HeaderFields;
}

/** How many pairs are kept for reuse. */
const MAX_KEPT = 256;

/** The listener, and the reused parts of its requests. */
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
