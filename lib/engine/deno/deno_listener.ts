/** One listening socket of the runtime, which is reopened after failures. */

import { setImmediate } from "node:timers";
import type { Clock } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/cancellation.ts";
import { formatListen, type ResolvedListen } from "../../config/listen_options.ts";
import type { StreamHandler } from "../../proxy/client_stream.ts";
import {
  type EngineListener,
  LAST_REQUEST_MS,
  type ListenerEvents,
  type ListenError,
  listenError,
} from "../engine.ts";
import type { Underscores } from "../../http/proxy_fields.ts";
import { socketShortage } from "../../core/resource_shortage.ts";
import {
  type Certificate,
  certificateFrom,
  CertificateWatch,
  isInFiles,
  readCertificate,
  textsOf,
  tryCertificate,
} from "../certificate.ts";
import { type DenoListenerInfo, serveRequest } from "./deno_stream.ts";
import { ContentBuffers } from "./deno_content.ts";
import { DenoStreams } from "./deno_streams.ts";

/** Options of a {@linkcode DenoListener}. */
interface DenoListenerOptions extends ListenerEvents {
  readonly listen: ResolvedListen;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly handler: StreamHandler;
  /** How long a client may pause while it sends or receives content. */
  readonly idleMs: number;
  /** How long a new certificate waits for content in progress. */
  readonly gracePeriodMs: number;
}

/** How long to wait before a failed socket is opened again. */
const REOPEN_AFTER_MS = 100;
/** How long a socket must stay open until it counts as recovered. */
const STEADY_AFTER_MS = 1000;
/** After so long without a new request, no request counts as in transit to a server that ends. */
const QUIET_MS = 100;
/** How long a response waits at most for a server that ends. */
const MOST_HELD_MS = 2 * LAST_REQUEST_MS;
/** How many turns of the event loop the runtime gets to release an address; it has needed two at most. */
const MAX_TURNS = 1000;

/** One server of the runtime, with its accepted connections. */
interface RuntimeServer {
  readonly http: Deno.HttpServer<Deno.NetAddr>;
  readonly streams: DenoStreams;
  readonly abort: AbortController;
  /** Whether its responses close their connections. */
  ending: boolean;
  /** What its responses wait for; `null` when they do not wait. */
  held: Promise<void> | null;
  /** Whether its shutdown has started; then it cannot be aborted any more (the runtime would fail). */
  finishing: boolean;
}

/** Listens at one address until it is stopped. */
export class DenoListener implements EngineListener {
  readonly #options: DenoListenerOptions;
  #listen: ResolvedListen;
  #watch: CertificateWatch | null = null;
  /** The server that was opened last. */
  #server: RuntimeServer;
  /** Servers whose socket is closed, until their last connection is. */
  readonly #former = new Set<RuntimeServer>();
  readonly #buffers = new ContentBuffers();
  #certificate: Certificate | null = null;
  /** Whether the socket of the last server is open. */
  #open = true;
  /** Since when the socket has not stayed open; `null` while it works. */
  #brokenSince: number | null = null;
  /** Opens the socket again, or confirms that it has stayed open. */
  #timer: Disposable | null = null;
  #stopping = false;
  #stopped: Promise<void> | null = null;
  readonly #port: number;

  /** @throws {ListenError} when the address cannot be listened at, or the certificate cannot be read */
  constructor(options: DenoListenerOptions) {
    this.#options = options;
    const { listen } = options;
    const { tls, unix } = listen;
    this.#listen = listen;
    if (tls !== undefined) this.#certificate = this.#read(tls.certificates[0]!);
    this.#server = this.#serve(listen.port);
    this.#port = unix === undefined ? this.#server.http.addr.port : 0;
    this.#watch = this.#watchFiles();
  }

  #watchFiles(): CertificateWatch | null {
    const { clock, onCertificate } = this.#options;
    const source = this.#listen.tls?.certificates[0];
    return source === undefined || !isInFiles(source) ? null : new CertificateWatch({
      read: () => textsOf(readCertificate(source)),
      current: textsOf(this.#certificate!),
      clock,
      onChange: (texts) => {
        const certificate = certificateFrom(texts);
        tryCertificate(certificate);
        return this.#renew(certificate);
      },
      onProblem: (problem) => onCertificate(this.address, problem),
    });
  }

  update(listen: ResolvedListen): void {
    this.#listen = listen;
    const { tls } = listen;
    if (tls === undefined) return;
    this.#watch?.[Symbol.dispose]();
    this.#watch = null;
    try {
      const { cert, key } = this.#certificate!;
      const found = readCertificate(tls.certificates[0]!);
      if (found.cert !== cert || found.key !== key) this.#renew(found);
      this.#watch = this.#watchFiles();
    } catch (error) {
      // It was valid a moment ago.
      this.#options.onCertificate(this.address, error instanceof Error ? error.message : String(error));
    }
  }

  /** The address for clients, as `host:port` or `unix:/path`. */
  get address(): string {
    return formatListen({ ...this.#listen, port: this.#port });
  }

  #read(source: Certificate): Certificate {
    try {
      return readCertificate(source);
    } catch (error) {
      throw this.#listenError(error);
    }
  }

  /** The host that the runtime assumes for a request without one. */
  #fallbackAuthority(port: number): string {
    const { unix, tls } = this.#listen;
    if (unix !== undefined) return percentEncoded(unix);
    // Clients of HTTP/2 may name `localhost:port` too, and with TLS there are HTTP/2 clients: so none is refused.
    return tls === undefined ? `localhost:${port}` : "";
  }

  #listenError(error: unknown): ListenError {
    return listenError(formatListen(this.#listen), error);
  }

  #serve(port: number): RuntimeServer {
    const { clock, wheel, handler, idleMs } = this.#options;
    const { hostname, unix, tls, reusePort } = this.#listen;
    const place = unix === undefined ? { hostname, port, reusePort, ...this.#certificate } : { path: unix };
    // The fallback is set once the port is known; no request arrives before.
    const underscores = (): Underscores => this.#listen.underscores ?? "drop";
    const info = {
      scheme: tls === undefined ? "http" as const : "https" as const,
      fallbackAuthority: "",
      get underscores(): Underscores {
        return underscores();
      },
      local: null as DenoListenerInfo["local"],
    };
    const streams = new DenoStreams(clock, wheel);
    // Getters, because streams read them when they begin and end.
    const isStopping = (): boolean => this.#stopping;
    const isEnding = (): boolean => server.ending;
    const context = {
      clock,
      wheel,
      handler,
      idleMs,
      streams,
      buffers: this.#buffers,
      get stopping(): boolean {
        return isStopping();
      },
      get ending(): boolean {
        return isEnding();
      },
      get held(): Promise<void> | null {
        return server.held;
      },
    };
    const abort = new AbortController();
    let http: Deno.HttpServer<Deno.NetAddr>;
    try {
      http = Deno.serve({
        ...place as { hostname: string; port: number },
        signal: abort.signal,
        onListen: () => {},
        // Called only for a response that failed midway. The client's connection is closed, and the exchange has
        // reported the failure. The default handler of the runtime would print a stack for each.
        onError: () => new Response(null, { status: 500 }),
      }, (request, connection) => serveRequest(request, connection, info, context));
    } catch (error) {
      throw this.#listenError(error);
    }
    if (unix === undefined) info.local = http.addr;
    info.fallbackAuthority = this.#fallbackAuthority(http.addr.port);
    const server: RuntimeServer = { http, streams, abort, ending: false, held: null, finishing: false };
    // The runtime closes a socket permanently after some failures, such as running out of file descriptors;
    // connections stay open.
    http.finished.catch((error) => {
      if (server === this.#server && this.#open) this.#socketFailed(error);
    });
    return server;
  }

  /** Closes idle connections, and closes the others after the responses to their requests. */
  #finish(server: RuntimeServer): Promise<void> {
    server.finishing = true;
    this.#former.add(server);
    return server.http.shutdown().catch(() => {}).finally(() => this.#former.delete(server));
  }

  /**
   * Opens the listener again, because the runtime reads a certificate only then.
   *
   * The address is free for a moment (measured: 0.2 ms, 6 ms under load; a connection attempt at this time is
   * refused). Running requests are served on their connections. Content in progress and WebSockets would be aborted,
   * so they are awaited.
   */
  async #renew(certificate: Certificate): Promise<void> {
    const { gracePeriodMs, onCertificate } = this.#options;
    await this.#untilQuiet(this.#server.streams, gracePeriodMs);
    if (this.#stopping) return;
    this.#certificate = certificate;
    // A socket that is closed right now is reopened with the new certificate.
    if (!this.#open) return onCertificate(this.address, null);
    this.#open = false;
    this.#finish(this.#server);
    for (let turn = 0; !this.#stopping; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (this.#stopping) return;
      try {
        this.#server = this.#serve(this.#port);
        this.#open = true;
        return onCertificate(this.address, null);
      } catch (error) {
        if (turn === MAX_TURNS) return this.#reopenLater(error);
      }
    }
  }

  /**
   * Closes idle connections in favour of new ones, since their file descriptors are probably what is missing. Content
   * in progress and WebSockets would be closed too, so they are awaited.
   */
  #socketFailed(error: unknown): void {
    if (this.#stopping) return;
    this.#open = false;
    const server = this.#server;
    this.#former.add(server);
    this.#untilDrained(server).then(() => this.#finish(server));
    this.#reopenLater(error);
  }

  /**
   * Resolves when no content is in progress and probably no request is in transit: a request that is sent on an idle
   * connection while the runtime closes it is lost. Until then responses close their connections.
   */
  async #untilDrained(server: RuntimeServer): Promise<void> {
    const { clock } = this.#options;
    server.ending = true;
    const since = clock.now();
    const until = since + LAST_REQUEST_MS;
    for (;;) {
      const restMs = Math.min(until, Math.max(since, server.streams.begunAt) + QUIET_MS) - clock.now();
      if (restMs <= 0) break;
      await new Promise<void>((resolve) => clock.setTimer(resolve, restMs));
    }
    await server.streams.untilQuiet();
  }

  async #untilQuiet(streams: DenoStreams, withinMs: number): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.setTimer(resolve, withinMs);
    await Promise.race([streams.untilQuiet(), over]);
  }

  #reopenLater(error: unknown): void {
    const { clock, onError } = this.#options;
    const first = this.#brokenSince === null;
    this.#brokenSince ??= clock.now();
    this.#setTimer(() => this.#reopen(), first ? 0 : REOPEN_AFTER_MS);
    if (first) onError(this.address, error);
  }

  #reopen(): void {
    try {
      this.#server = this.#serve(this.#port);
    } catch (error) {
      return this.#reopenLater(error);
    }
    this.#open = true;
    this.#recoverLater();
  }

  #recoverLater(): void {
    const { clock, onRecovery } = this.#options;
    const afterMs = clock.now() - this.#brokenSince!;
    this.#setTimer(() => {
      // An open socket is useless without a file descriptor for the next client.
      if (socketShortage() !== null) return this.#recoverLater();
      this.#brokenSince = null;
      onRecovery(this.address, afterMs);
    }, STEADY_AFTER_MS);
  }

  #setTimer(callback: () => void, delayMs: number): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#options.clock.setTimer(callback, delayMs);
  }

  /**
   * Accepts no new connections once no request is in transit, closes idle ones, closes the others after their
   * responses, and resolves once all requests have a response.
   *
   * Until then responses wait: the runtime closes idle connections at once, and the next request on a connection that
   * has just become idle could be lost, as could one on a new connection.
   *
   * After this, connections can no longer be aborted: a caller that cannot wait any longer must end the requests.
   */
  stop(): Promise<void> {
    this.#end();
    this.#stopped ??= Promise.all([this.#server, ...this.#former].map((server) => this.#stopServer(server)))
      .then(() => {});
    return this.#stopped;
  }

  async #stopServer(server: RuntimeServer): Promise<void> {
    server.ending = true;
    await server.streams.untilQuiet();
    const { promise: held, resolve: resolveHeld } = Promise.withResolvers<void>();
    const release = (): void => {
      server.held = null;
      resolveHeld();
    };
    server.held = held;
    {
      // Content may take longer than other responses should wait.
      using _timer = this.#options.clock.setTimer(release, MOST_HELD_MS);
      await this.#untilDrained(server);
    }
    // Close frames are sent first: the shutdown of a server aborts WebSockets.
    await turn();
    const finished = this.#finish(server);
    // The runtime closes its socket and idle connections in a later turn.
    await turn();
    release();
    await finished;
  }

  /** Closes every connection, unless {@linkcode stop} was called. */
  cut(): void {
    this.#end();
    for (const { abort, finishing } of [this.#server, ...this.#former]) if (!finishing) abort.abort();
  }

  #end(): void {
    this.#stopping = true;
    this.#watch?.[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** A path as the runtime writes it before a target. */
function percentEncoded(path: string): string {
  return path.replace(/[^A-Za-z0-9]/gu, (character) => {
    const bytes = new TextEncoder().encode(character);
    return Array.from(bytes, (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
  });
}
