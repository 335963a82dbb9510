/** Accepts clients that speak TLS, and shakes hands with them, on `node:net` and `node:tls`. */

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
import { BACKLOG, prepare, SecuredSocket, startReading, stopReading, wake } from "./secured_socket.ts";

/** What a {@linkcode TlsAcceptor} takes. */
interface TlsAcceptorOptions {
  readonly listen: ResolvedListen;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly onCertificate: ListenerEvents["onCertificate"];
  readonly meter?: ListenerEvents["meter"];
  readonly onCallbackError: ListenerEvents["onCallbackError"];
  readonly onClientRefused: ListenerEvents["onClientRefused"];
}

/** How many clients may shake hands at the same time; for one more the one that takes longest is given up. */
const MAX_HANDSHAKES = 1024;
/** How many may have done so and wait to be taken; further ones are closed. */
const MAX_WAITING = 256;
/** How often it is looked whether the runtime still accepts. */
const LOOK_EVERY_MS = 1000;

/** How long nothing is told of clients that are refused after something was. */
const QUIET_MS = 1000;

/** What clients are offered by ALPN, the liked one first. */
const PROTOCOLS = ["h2", "http/1.1"];
const HTTP1_ALONE = ["http/1.1"];

/** A listener for TLS; `accept()` and `close()` are those of a `Deno.Listener`. */
export class TlsAcceptor {
  readonly #options: TlsAcceptorOptions;
  #listen: ResolvedListen;
  readonly #server: Server;
  #certificates: CertificateStore;
  /** Connections whose handshake is not done; those that began first come first. */
  readonly #handshakes = new Map<TcpSocket, () => void>();
  readonly #waiting: SecuredSocket[] = [];
  #accepting: PromiseWithResolvers<SecuredSocket> | null = null;
  #look: Disposable | null = null;
  /** Whether the runtime may have stopped to accept. */
  #lacked = false;
  #closed = false;
  /** How many clients were refused since that was told last, and when it was. */
  #refusals = 0;
  #toldAt = -Infinity;

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

  /** Serves by other options, of which the certificate is used for clients from now on. */
  update(listen: ResolvedListen): void {
    this.#listen = listen;
    try {
      const certificates = this.#readCertificates();
      this.#certificates[Symbol.dispose]();
      this.#certificates = certificates;
    } catch (error) {
      // It was found to be good a moment ago.
      this.#options.onCertificate(this.#place, error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * Begins to listen.
   *
   * @throws {ListenError} when the address cannot be listened at, or the certificate cannot be used
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
    this.#lookLater();
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
   * The next client whose handshake is done.
   *
   * @throws when the process lacks what it takes to accept one, or the listener is closed
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
      // Who may come in is decided below, also of sessions that are resumed.
      ...(clients === null ? {} : { requestCert: true, rejectUnauthorized: false }),
      ALPNProtocols: this.#listen.tls!.http2 ? PROTOCOLS : HTTP1_ALONE,
    });
    const { wheel } = this.#options;
    const { limits } = this.#listen;
    const deadline = wheel.deadline(() => giveUp());
    const over = (): boolean => {
      deadline.clear();
      return handshakes.delete(tcp);
    };
    deadline.set(limits.headMs);
    const giveUp = (): void => {
      if (over()) this.#options.meter?.handshakeFailed();
      tcp.destroy();
    };
    handshakes.set(tcp, giveUp);
    // Without listeners for them errors would end the process; they end both sockets.
    tcp.on("error", giveUp);
    socket.on("error", giveUp);
    socket.on("close", () => {
      if (over()) this.#options.meter?.handshakeFailed();
    });
    socket.on("end", () => {
      if (handshakes.has(tcp)) giveUp();
    });
    socket.on("secure", () => {
      if (clients === null) return over() && this.#secured(tcp, socket, null);
      const verdict = clients.judge(socket);
      if (!(verdict instanceof Promise)) return over() && this.#judged(tcp, socket, verdict);
      stopReading(tcp);
      verdict.then((verdict) => {
        if (!over()) return;
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
    if (clock.now() - this.#toldAt >= QUIET_MS) {
      this.#toldAt = clock.now();
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
    );
    const accepting = this.#accepting;
    this.#accepting = null;
    if (accepting === null) this.#waiting.push(secured);
    else accepting.resolve(secured);
  }

  #lookLater(): void {
    this.#look = this.#options.clock.setTimer(() => {
      this.#lookLater();
      wake(this.#server);
      const shortage = this.#accepting === null ? null : socketShortage();
      if (shortage === null) return;
      const accepting = this.#accepting!;
      this.#accepting = null;
      this.#lacked = true;
      accepting.reject(new Error(shortage));
    }, LOOK_EVERY_MS);
  }

  /** Accepts nobody any more; those who still shake hands are closed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#certificates[Symbol.dispose]();
    this.#look?.[Symbol.dispose]();
    this.#server.close();
    for (const giveUp of this.#handshakes.values()) giveUp();
    for (const socket of this.#waiting.splice(0)) socket.close();
    this.#accepting?.reject(new Error("The listener is closed"));
    this.#accepting = null;
  }
}
