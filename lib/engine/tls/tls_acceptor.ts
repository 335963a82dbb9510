/** Accepts TLS clients and does the handshake, with `node:net` and `node:tls`. */

import { createServer, type Server, type Socket as TcpSocket } from "node:net";
import { TLSSocket } from "node:tls";
import { formatListen, type ResolvedListen } from "../../config/listen_options.ts";
import type { Clock } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/cancellation.ts";
import { socketShortage } from "../../core/resource_shortage.ts";
import type { ClientCertificate } from "../../http/client_certificate.ts";
import { plainAddress } from "../../http/trusted_proxies.ts";
import { type ListenerEvents, listenError } from "../engine.ts";
import { CertificateStore } from "./certificate_store.ts";
import type { ClientVerdict } from "./client_certificates.ts";
import {
  BACKLOG,
  prepare,
  ReadTurns,
  SecuredSocket,
  startReading,
  stopReading,
  wake,
} from "./secured_socket.ts";

/** Options of a {@linkcode TlsAcceptor}. */
interface TlsAcceptorOptions {
  readonly listen: ResolvedListen;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly onCertificate: ListenerEvents["onCertificate"];
  readonly meter?: ListenerEvents["meter"];
  readonly onCallbackError: ListenerEvents["onCallbackError"];
  readonly onClientRefused: ListenerEvents["onClientRefused"];
}

/** Most concurrent handshakes; for one more, the oldest one is aborted. */
const MAX_HANDSHAKES = 1024;
/** Most clients with a finished handshake that wait to be accepted; further ones are closed. */
const MAX_WAITING = 256;
/** Interval of checking whether the runtime still accepts. */
const CHECK_EVERY_MS = 1000;

/** At most one event about refused clients per this interval, in milliseconds. */
const REPORT_INTERVAL_MS = 1000;

/** Protocols offered by ALPN, the preferred one first. */
const PROTOCOLS = ["h2", "http/1.1"];
const HTTP1_ONLY = ["http/1.1"];

/** A listener for TLS; `accept()` and `close()` work like those of a `Deno.Listener`. */
export class TlsAcceptor {
  readonly #options: TlsAcceptorOptions;
  #listen: ResolvedListen;
  readonly #server: Server;
  #certificates: CertificateStore;
  /** Connections with an unfinished handshake, the oldest first. */
  readonly #handshakes = new Map<TcpSocket, () => void>();
  readonly #waiting: SecuredSocket[] = [];
  readonly #turns = new ReadTurns();
  #accepting: PromiseWithResolvers<SecuredSocket> | null = null;
  #acceptCheck: Disposable | null = null;
  /** Whether the runtime may have stopped accepting. */
  #lacked = false;
  #closed = false;
  /** How many clients were refused since the last event, and when that was. */
  #refusals = 0;
  #lastReportedAt = -Infinity;

  /** @throws {Error} when a certificate cannot be used */
  private constructor(options: TlsAcceptorOptions) {
    this.#options = options;
    this.#listen = options.listen;
    this.#certificates = this.#readCertificates();
    this.#server = createServer(
      { noDelay: true, allowHalfOpen: true },
      (socket) => this.#connected(socket),
    );
  }

  #readCertificates(): CertificateStore {
    const { clock, onCertificate, onCallbackError } = this.#options;
    return new CertificateStore({
      tls: this.#listen.tls!,
      clock,
      onChange: (problem, names) => onCertificate(this.#place, problem, names),
      onCallbackError,
    });
  }

  /** Applies new options; new clients get the new certificates. */
  update(listen: ResolvedListen): void {
    this.#listen = listen;
    try {
      const certificates = this.#readCertificates();
      this.#certificates[Symbol.dispose]();
      this.#certificates = certificates;
    } catch (error) {
      // It was valid a moment ago.
      this.#options.onCertificate(this.#place, error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * Starts to listen.
   *
   * @throws {ListenError} when the address cannot be opened, or a certificate cannot be used
   */
  static async open(options: TlsAcceptorOptions): Promise<TlsAcceptor> {
    const { hostname, port, reusePort = false } = options.listen;
    let acceptor: TlsAcceptor | null = null;
    try {
      acceptor = new TlsAcceptor(options);
      prepare(acceptor.#certificates.fallback);
      await acceptor.#listenAt(hostname, port, reusePort);
      return acceptor;
    } catch (error) {
      acceptor?.close();
      throw listenError(formatListen(options.listen), error);
    }
  }

  #listenAt(host: string, port: number, reusePort: boolean): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.on("error", reject);
    this.#server.listen({ host, port, backlog: BACKLOG, ...(reusePort ? { reusePort } : {}) }, resolve);
    this.#scheduleCheck();
    return promise;
  }

  get addr(): Deno.NetAddr {
    const { address, port } = this.#server.address() as { address: string; port: number };
    return { transport: "tcp", hostname: address, port };
  }

  get #place(): string {
    return formatListen({ ...this.#listen, port: this.addr.port });
  }

  /**
   * The next client with a finished handshake.
   *
   * @throws when the process lacks resources to accept one, or the listener is closed
   */
  accept(): Promise<SecuredSocket> {
    const next = this.#waiting.shift();
    if (next !== undefined) return Promise.resolve(next);
    if (this.#closed) return Promise.reject(new Error("The listener is closed"));
    if (this.#lacked) wake(this.#server);
    this.#lacked = false;
    this.#accepting = Promise.withResolvers();
    return this.#accepting.promise;
  }

  #connected(tcp: TcpSocket): void {
    const handshakes = this.#handshakes;
    const { fallback, choose, clients } = this.#certificates;
    const socket = new TLSSocket(tcp, {
      isServer: true,
      ...(fallback === null ? {} : { secureContext: fallback }),
      ...(choose === null ? {} : { SNICallback: choose }),
      // Whether the client is accepted is decided below, also for resumed sessions.
      ...(clients === null ? {} : { requestCert: true, rejectUnauthorized: false }),
      ALPNProtocols: this.#listen.tls!.http2 ? PROTOCOLS : HTTP1_ONLY,
    });
    const { wheel } = this.#options;
    const { limits } = this.#listen;
    const deadline = wheel.deadline(() => abort());
    const endHandshake = (): boolean => {
      deadline.clear();
      return handshakes.delete(tcp);
    };
    deadline.set(limits.headMs);
    const abort = (): void => {
      if (endHandshake()) this.#options.meter?.handshakeFailed();
      tcp.destroy();
    };
    handshakes.set(tcp, abort);
    // Without error listeners, errors would end the process; these close both sockets.
    tcp.on("error", abort);
    socket.on("error", abort);
    socket.on("close", () => {
      if (endHandshake()) this.#options.meter?.handshakeFailed();
    });
    socket.on("end", () => {
      if (handshakes.has(tcp)) abort();
    });
    socket.on("secure", () => {
      if (clients === null) return endHandshake() && this.#secured(tcp, socket, null);
      const verdict = clients.judge(socket);
      if (!(verdict instanceof Promise)) return endHandshake() && this.#judged(tcp, socket, verdict);
      stopReading(tcp);
      verdict.then((verdict) => {
        if (!endHandshake()) return;
        startReading(tcp);
        this.#judged(tcp, socket, verdict);
      });
    });
    if (handshakes.size > MAX_HANDSHAKES) handshakes.values().next().value!();
  }

  #judged(tcp: TcpSocket, socket: TLSSocket, { certificate, refusal }: ClientVerdict): void {
    if (refusal === null) return this.#secured(tcp, socket, certificate);
    const { clock, meter, onClientRefused } = this.#options;
    meter?.handshakeFailed();
    this.#refusals++;
    if (clock.now() - this.#lastReportedAt >= REPORT_INTERVAL_MS) {
      this.#lastReportedAt = clock.now();
      onClientRefused(this.#place, {
        client: plainAddress(tcp.remoteAddress ?? ""),
        subject: certificate?.subject ?? null,
        fingerprint: certificate?.fingerprint ?? null,
        reason: refusal,
        count: this.#refusals,
      });
      this.#refusals = 0;
    }
    tcp.destroy();
  }

  #secured(tcp: TcpSocket, socket: TLSSocket, certificate: ClientCertificate | null): void {
    if (this.#accepting === null && this.#waiting.length >= MAX_WAITING) return void tcp.destroy();
    const { remoteAddress = "", remotePort = 0, localAddress = "", localPort = 0 } = tcp;
    const secured = new SecuredSocket(
      tcp,
      socket,
      { transport: "tcp", hostname: remoteAddress, port: remotePort },
      { transport: "tcp", hostname: localAddress, port: localPort },
      certificate,
      this.#turns,
    );
    const accepting = this.#accepting;
    this.#accepting = null;
    if (accepting === null) this.#waiting.push(secured);
    else accepting.resolve(secured);
  }

  #scheduleCheck(): void {
    this.#acceptCheck = this.#options.clock.setTimer(() => {
      this.#scheduleCheck();
      wake(this.#server);
      const shortage = this.#accepting === null ? null : socketShortage();
      if (shortage === null) return;
      const accepting = this.#accepting!;
      this.#accepting = null;
      this.#lacked = true;
      accepting.reject(new Error(shortage));
    }, CHECK_EVERY_MS);
  }

  /** Stops accepting; unfinished handshakes are aborted. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#certificates[Symbol.dispose]();
    this.#acceptCheck?.[Symbol.dispose]();
    this.#server.close();
    for (const abort of this.#handshakes.values()) abort();
    for (const socket of this.#waiting.splice(0)) socket.close();
    this.#accepting?.reject(new Error("The listener is closed"));
    this.#accepting = null;
  }
}
