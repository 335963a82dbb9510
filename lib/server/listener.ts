/** One socket that accepts clients, kept open whatever happens to it. */

import { setImmediate } from "node:timers";
import type { Clock } from "../core/clock.ts";
import { formatListen } from "../config/format_listen.ts";
import type { ListenTlsOptions, ResolvedListen } from "../config/proxy_config.ts";
import type { Entrance } from "../proxy/exchange.ts";
import { type Certificate, isInFiles, readCertificate } from "./certificate.ts";
import { CertificateWatch } from "./certificate_watch.ts";

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
  /** Told that the files of the certificate have changed, and why the new one is not used (`null` when it is). */
  readonly onCertificate: (address: string, problem: string | null) => void;
  /** Resolves when nothing that came by this listener would be broken off by opening it anew, or in the end anyway. */
  readonly untilQuiet: (entrance: Entrance) => Promise<void>;
}

/** How long to wait before a socket that broke is opened again; out of files is not over at once. */
const REOPEN_AFTER_MS = 100;
/** How many turns of the event loop the runtime gets to let go of an address; it has taken two at most. */
const MAX_TURNS = 1000;

/** A place to listen at could not be opened. */
export class ListenError extends Error {
  /** Name of the class. */
  override readonly name = "ListenError";
}

/** Listens at one address until it is told to stop. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #entrance: Entrance;
  readonly #watch: CertificateWatch | null = null;
  /** Servers with an old certificate, until their last requests are answered. */
  readonly #retired = new Set<Promise<void>>();
  #certificate: Certificate | null = null;
  #abort = new AbortController();
  #server: Deno.HttpServer<Deno.NetAddr>;
  #stopping = false;
  #stopped: Promise<void> | null = null;
  #reopen: Disposable | null = null;
  readonly #port: number;

  /** @throws {ListenError} when the address cannot be listened at, or the certificate cannot be read */
  constructor(options: ListenerOptions) {
    this.#options = options;
    const { listen, clock, onCertificate } = options;
    const { tls, unix, underscores = "drop" } = listen;
    if (tls !== undefined) this.#certificate = this.#read(tls);
    // The runtime names itself so towards clients that name no host; known once the port is.
    const entrance: { -readonly [Key in keyof Entrance]: Entrance[Key] } = {
      scheme: tls === undefined ? "http" : "https",
      fallbackAuthority: "",
      underscores,
    };
    this.#entrance = entrance;
    this.#server = this.#open(listen.port);
    this.#port = unix === undefined ? this.#server.addr.port : 0;
    entrance.fallbackAuthority = this.#fallbackAuthority();
    if (tls === undefined || !isInFiles(tls)) return;
    this.#watch = new CertificateWatch({
      tls,
      current: this.#certificate!,
      clock,
      onChange: (certificate) => this.#renew(certificate),
      onProblem: (problem) => onCertificate(this.address, problem),
    });
  }

  /** Where clients reach it, as `host:port` or `unix:/path`. */
  get address(): string {
    return formatListen({ ...this.#options.listen, port: this.#port });
  }

  #read(tls: ListenTlsOptions): Certificate {
    try {
      return readCertificate(tls);
    } catch (error) {
      throw this.#listenError(error);
    }
  }

  /** What the runtime takes for the host of a request that names none. */
  #fallbackAuthority(): string {
    const { unix, tls } = this.#options.listen;
    if (unix !== undefined) return percentEncoded(unix);
    // Clients of HTTP/2 name `localhost:port` in just the same way, and with TLS there are some: nothing is refused.
    return tls === undefined ? `localhost:${this.#port}` : "";
  }

  #listenError(error: unknown): ListenError {
    const place = formatListen(this.#options.listen);
    return new ListenError(`Cannot listen at ${place}: ${reasonOf(error)}`, { cause: error });
  }

  #open(port: number): Deno.HttpServer<Deno.NetAddr> {
    const { listen: { hostname, unix }, handler } = this.#options;
    const entrance = this.#entrance;
    const place = unix === undefined ? { hostname, port, ...this.#certificate } : { path: unix };
    const abort = new AbortController();
    let server: Deno.HttpServer<Deno.NetAddr>;
    try {
      server = Deno.serve({
        ...place as { hostname: string; port: number },
        signal: abort.signal,
        onListen: () => {},
        // Reached only by a response that broke off midway; the client's connection is cut, and the failure has been
        // reported by the exchange. The runtime's own handler would print a stack for each.
        onError: () => new Response(null, { status: 500 }),
      }, (request, info) => handler(request, info, entrance));
    } catch (error) {
      throw this.#listenError(error);
    }
    this.#abort = abort;
    // The runtime gives up a socket for good when it runs out of files, for one.
    server.finished.catch((error) => {
      if (server === this.#server) this.#reopenLater(error);
    });
    return server;
  }

  /**
   * Opens the listener anew, since the runtime takes a certificate only then.
   *
   * The address is free for a moment (measured: 0.2 ms, 6 ms under load; what connects just then is refused). Requests that run are
   * answered on their connections. Content on its way and WebSockets would be broken off, so they are waited for.
   */
  async #renew(certificate: Certificate): Promise<void> {
    await this.#options.untilQuiet(this.#entrance);
    if (this.#stopping) return;
    this.#certificate = certificate;
    const retired = this.#server.shutdown().catch(() => {});
    this.#retired.add(retired);
    retired.finally(() => this.#retired.delete(retired));
    for (let turn = 0; !this.#stopping; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (this.#stopping) return;
      try {
        this.#server = this.#open(this.#port);
        this.#options.onCertificate(this.address, null);
        return;
      } catch (error) {
        if (turn === MAX_TURNS) return this.#reopenLater(error);
      }
    }
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
    this.#end();
    this.#stopped ??= Promise.all([this.#server.shutdown().catch(() => {}), ...this.#retired]).then(() => {});
    return this.#stopped;
  }

  /** Cuts every connection, unless {@linkcode stop} was called. */
  cut(): void {
    if (this.#stopping) return;
    this.#end();
    this.#abort.abort();
  }

  #end(): void {
    this.#stopping = true;
    this.#watch?.[Symbol.dispose]();
    this.#reopen?.[Symbol.dispose]();
  }
}

/** A path as the runtime writes it in front of a target. */
function percentEncoded(path: string): string {
  return path.replace(/[^A-Za-z0-9]/gu, (character) => {
    const bytes = new TextEncoder().encode(character);
    return Array.from(bytes, (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
  });
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) return "the address is in use";
  if (error instanceof Deno.errors.AddrNotAvailable) return "this machine does not have the address";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied by the system";
  if (error instanceof Deno.errors.NotCapable) return "run with --allow-net";
  return error instanceof Error ? error.message : String(error);
}
