/** One socket that accepts clients, kept open whatever happens to it. */

import type { Clock } from "../core/clock.ts";
import { formatListen } from "../config/format_listen.ts";
import type { ResolvedListen } from "../config/proxy_config.ts";
import type { Entrance } from "../proxy/exchange.ts";

/** Answers one request; never rejects. */
export type RequestHandler = (
  request: Request,
  info: Deno.ServeHandlerInfo<Deno.NetAddr>,
  entrance: Entrance,
) => Promise<Response>;

/** What a {@linkcode Listener} takes. */
export interface ListenerOptions {
  readonly listen: ResolvedListen;
  readonly clock: Clock;
  readonly handler: RequestHandler;
  /** Told when the runtime has closed the socket by itself; it is opened again. */
  readonly onError: (address: string, error: unknown) => void;
}

/** How long to wait before a socket that broke is opened again; out of files is not over at once. */
const REOPEN_AFTER_MS = 100;

/** A place to listen at could not be opened. */
export class ListenError extends Error {
  /** Name of the class. */
  override readonly name = "ListenError";
}

/** Listens at one address until it is told to stop. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #abort = new AbortController();
  readonly #entrance: Entrance;
  #server: Deno.HttpServer<Deno.NetAddr>;
  #stopping = false;
  #stopped: Promise<void> | null = null;
  #reopen: Disposable | null = null;
  readonly #port: number;

  /** @throws {ListenError} when the address cannot be listened at */
  constructor(options: ListenerOptions) {
    this.#options = options;
    // The runtime names itself so towards clients that name no host; known once the port is.
    const entrance = { scheme: "http", fallbackAuthority: "" };
    this.#entrance = entrance;
    this.#server = this.#open(options.listen.port);
    this.#port = this.#server.addr.port;
    entrance.fallbackAuthority = `localhost:${this.#port}`;
  }

  /** Where clients reach it, as `host:port`. */
  get address(): string {
    return formatListen({ ...this.#options.listen, port: this.#port });
  }

  #open(port: number): Deno.HttpServer<Deno.NetAddr> {
    const { listen: { hostname }, handler } = this.#options;
    const entrance = this.#entrance;
    let server: Deno.HttpServer<Deno.NetAddr>;
    try {
      server = Deno.serve({
        hostname,
        port,
        signal: this.#abort.signal,
        onListen: () => {},
        // Reached only by a response that broke off midway; the client's connection is cut, and the failure has been
        // reported by the exchange. The runtime's own handler would print a stack for each.
        onError: () => new Response(null, { status: 500 }),
      }, (request, info) => handler(request, info, entrance));
    } catch (error) {
      throw new ListenError(`Cannot listen at ${formatListen({ hostname, port })}: ${reasonOf(error)}`, {
        cause: error,
      });
    }
    // The runtime gives up a socket for good when it runs out of files, for one.
    server.finished.catch((error) => this.#reopenLater(error));
    return server;
  }

  #reopenLater(error: unknown): void {
    if (this.#stopping) return;
    this.#options.onError(this.address, error);
    this.#reopen = this.#options.clock.setTimer(() => {
      if (this.#stopping) return;
      try {
        this.#server = this.#open(this.#port);
      } catch (again) {
        this.#reopenLater(again);
      }
    }, REOPEN_AFTER_MS);
  }

  /**
   * Takes no new connections, closes idle ones, and resolves once all requests have been answered.
   *
   * There is no way back from here to cutting connections (the runtime fails when it is asked to): whoever cannot wait
   * any longer has to end the requests.
   */
  stop(): Promise<void> {
    this.#stopping = true;
    this.#reopen?.[Symbol.dispose]();
    this.#stopped ??= this.#server.shutdown().catch(() => {});
    return this.#stopped;
  }

  /** Cuts every connection, unless {@linkcode stop} was called. */
  cut(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#reopen?.[Symbol.dispose]();
    this.#abort.abort();
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) return "the address is in use";
  if (error instanceof Deno.errors.AddrNotAvailable) return "this machine does not have the address";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied by the system";
  if (error instanceof Deno.errors.NotCapable) return "run with --allow-net";
  return error instanceof Error ? error.message : String(error);
}
