/** What every engine, which talks to clients, has in common. */

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

/** Listens at one address until it is told to stop. */
export interface EngineListener {
  /** Where clients reach it, as `host:port` or `unix:/path`. */
  readonly address: string;
  /** Serves by other options from now on, which name the same address and engine, and TLS where it was. */
  update(listen: ResolvedListen): void;
  /**
   * Takes no new connections, closes idle ones soon, and resolves once all requests have a response. A successor can bind
   * the address as soon as the engine can close it.
   */
  stop(): Promise<void>;
  /** Cuts every connection. */
  cut(): void;
}

/** Why a client was refused for its certificate, or for having none. */
type ClientRefusal = Omit<ProxyEvent<"client_certificate">, "kind" | "address">;

/** What a listener has to tell. */
export interface ListenerEvents {
  /** Counts connections; `null` where nobody wants to know. @default {null} */
  readonly meter?: ListenerMeter | null;
  /** Accepting fails; told once, until it has worked for a while again. */
  readonly onError: (address: string, error: unknown) => void;
  /** Accepting works again, and how long it had not. */
  readonly onRecovery: (address: string, afterMs: number) => void;
  /**
   * The files of a certificate have changed, why the new one is not used (`null` when it is), and the names that it is for
   * where there are several certificates.
   */
  readonly onCertificate: (address: string, problem: string | null, names?: readonly string[]) => void;
  /** A client was refused for its certificate. */
  readonly onClientRefused: (address: string, refusal: ClientRefusal) => void;
  /** A function of the configuration threw, of this name. */
  readonly onCallbackError: (name: string, error: unknown) => void;
}

/** An address to listen at could not be opened. */
export class ListenError extends Error {
  /** Name of the class. */
  override readonly name = "ListenError";

  /** @internal Whether another listener has the address. */
  get inUse(): boolean {
    return isInUse(this.cause);
  }
}

function isInUse(error: unknown): boolean {
  // Errors of `node:net` are told apart by their codes alone.
  return error instanceof Deno.errors.AddrInUse || (error as { code?: unknown })?.code === "EADDRINUSE";
}

/** Makes the error for a place that could not be opened. */
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

/** A unix socket is read and written too; the runtime names one of what is missing. */
function missingFor(path: string): string {
  const needed = [
    { name: "net", host: `unix:${path}` },
    { name: "read", path },
    { name: "write", path },
  ] as const;
  return needed.filter((each) => Deno.permissions.querySync(each).state !== "granted")
    .map(({ name }) => `--allow-${name}`).join(", ");
}

// A connection of a client as its listener sees it, whatever it speaks, and the listener as its connections see it.

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
