/** A running proxy: its listeners and its data plane, from start to shutdown. */

import { callAside } from "../core/callback.ts";
import { formatListen } from "../config/format_listen.ts";
import type { ResolvedConfig, ResolvedListen } from "../config/proxy_config.ts";
import { openDescriptors } from "../core/descriptors.ts";
import { resourceShortage } from "../core/resource_shortage.ts";
import type { LimitControl } from "../limiter/limit_control.ts";
import type { MetricsFormat } from "../observe/metrics/exposition.ts";
import type { Observer } from "../observe/observer.ts";
import { DenoListener } from "../engine/deno/deno_listener.ts";
import type { EngineListener, ListenerEvents } from "../engine/engine.ts";
import { Http1Listener } from "../engine/http1/http1_listener.ts";
import { TlsAcceptor } from "../engine/tls/tls_acceptor.ts";
import type { StreamHandler } from "../proxy/client_stream.ts";
import { handleRequest, refuseRequest } from "../proxy/handle_request.ts";
import { redirectToHttps } from "../proxy/redirect_to_https.ts";
import { reportCallbackError } from "../proxy/settle_exchange.ts";
import type { Pool } from "../upstream/pool.ts";
import { Administration, type SteeredProxy } from "./administration.ts";
import { CLIENT_IDLE_MS, DataPlane } from "./data_plane.ts";
import type { ProxyParts } from "./serve_options.ts";

/** A running proxy. */
export class ProxyServer implements AsyncDisposable {
  readonly #config: ResolvedConfig;
  readonly #observer: Observer;
  readonly #plane: DataPlane;
  /** `null` without an admin listener. */
  readonly #admin: Administration | null;
  readonly #listeners: EngineListener[] = [];
  readonly #finished = Promise.withResolvers<void>();
  /** Keeps the process running: timers of the clock do not, and nothing else may while checks or a listener wait. */
  #alive: ReturnType<typeof setInterval> | undefined;
  #shutdown: Promise<void> | null = null;

  /** @internal Use `serve`. */
  constructor(config: ResolvedConfig, parts: ProxyParts) {
    this.#config = config;
    this.#admin = config.admin === null ? null : new Administration(config.admin, parts);
    this.#observer = this.#admin?.events ?? parts.observer;
    this.#plane = new DataPlane(config, { ...parts, observer: this.#observer });
  }

  /** @internal Checks all servers once, then opens the listeners. */
  async start(): Promise<void> {
    this.#alive = setInterval(() => {}, 60_000);
    try {
      await this.#admin?.open(this.#steered());
      await this.#plane.start();
      for (const listen of this.#config.listen) {
        if (listen.unix !== undefined) await removeStaleSocket(listen.unix);
        this.#listeners.push(await this.#listen(listen));
      }
    } catch (error) {
      await this.#cut();
      throw error;
    }
    this.#observer.event({ kind: "listening", addresses: this.addresses });
    const { onListen } = this.#config;
    if (onListen === null) return;
    callAside(
      () => onListen(this.addresses, this.pools),
      (error) => reportCallbackError(this.#observer, "onListen", error),
    );
  }

  async #listen(listen: ResolvedListen): Promise<EngineListener> {
    const { clock, wheel } = this.#plane.runtime;
    const common = { listen, clock, wheel, handler: this.#handlerOf(listen), ...this.#events(listen) };
    if (listen.engine === "http1") {
      if (listen.tls === undefined) return new Http1Listener(common);
      return new Http1Listener({ ...common, acceptor: await TlsAcceptor.open(common) });
    }
    return new DenoListener({ ...common, idleMs: CLIENT_IDLE_MS, gracePeriodMs: this.#config.gracePeriodMs });
  }

  #handlerOf({ redirectPort }: ResolvedListen): StreamHandler {
    const { runtime } = this.#plane;
    const refuse: StreamHandler["refuse"] = (stream, error) => refuseRequest(stream, error, runtime);
    if (redirectPort === undefined) return { handle: (stream) => handleRequest(stream, runtime), refuse };
    return { handle: (stream) => redirectToHttps(stream, redirectPort, runtime), refuse };
  }

  #events(listen: ResolvedListen): ListenerEvents {
    const { runtime: { running }, counted } = this.#plane;
    return {
      meter: counted?.listener(formatListen(listen)) ?? null,
      onError: (address, error) => {
        const message = resourceShortage(error) ?? (error instanceof Error ? error.message : String(error));
        const held = { openDescriptors: openDescriptors(), runningRequests: running.size };
        this.#observer.event({ kind: "listener_error", address, message, ...held });
      },
      onRecovery: (address, afterMs) =>
        this.#observer.event({ kind: "listener_recovered", address, afterMs: Math.round(afterMs) }),
      onCertificate: (address, problem) => this.#observer.event({ kind: "certificate", address, problem }),
    };
  }

  /** Where clients reach it, as `host:port` or `unix:/path`; with the ports that were given for port 0. */
  get addresses(): readonly string[] {
    return this.#listeners.map((listener) => listener.address);
  }

  /** Where it is watched and steered, as `host:port` or `unix:/path`; `null` without an admin listener. */
  get adminAddress(): string | null {
    return this.#admin?.address ?? null;
  }

  #steered(): SteeredProxy {
    // deno-lint-ignore no-this-alias
    const server = this;
    return {
      config: this.#config,
      get addresses() {
        return server.addresses;
      },
      get stopping() {
        return server.#shutdown !== null;
      },
      get plane() {
        return server.#plane;
      },
    };
  }

  /** Resolves when the proxy has stopped. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Its pools by name, to add, remove and weigh servers while it runs. */
  get pools(): ReadonlyMap<string, Pool> {
    return this.#plane.pools;
  }

  /** Its limits, to ban and to reset keys while it runs; `null` when nothing is limited. */
  get limiter(): LimitControl | null {
    return this.#plane.runtime.admission?.limiter ?? null;
  }

  /**
   * Its metrics as text.
   *
   * @param format `"prometheus"` (text, version 0.0.4) when left out, or `"openmetrics"`
   */
  metrics(format?: MetricsFormat): string {
    return this.#plane.metrics(format);
  }

  /**
   * Takes no new connections, finishes the requests that run, and stops.
   *
   * What has not ended within the grace period is cut off. Resolves as soon as nothing runs any more; calling it
   * again gives the same promise.
   *
   * @param reason what the log says of it
   */
  shutdown(reason = "shutdown()"): Promise<void> {
    this.#shutdown ??= this.#drain(reason);
    return this.#shutdown;
  }

  async #drain(reason: string): Promise<void> {
    const abandonedRequests = await this.#plane.drain(reason, () => this.#stopListeners());
    await this.#cut();
    this.#observer.event({ kind: "stopped", abandonedRequests });
    this.#finished.resolve();
  }

  async #stopListeners(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.stop()));
  }

  /** Ends everything at once. */
  async #cut(): Promise<void> {
    for (const listener of this.#listeners) listener.cut();
    try {
      await this.#admin?.[Symbol.asyncDispose]();
      await this.#plane[Symbol.asyncDispose]();
    } finally {
      clearInterval(this.#alive);
    }
  }

  /** The same as {@linkcode ProxyServer.shutdown}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown("disposed");
  }
}

/**
 * Removes a socket that nobody listens at any more; leaves everything else where it is.
 *
 * A process that is killed leaves its socket behind, and its successor could not listen at the same path.
 */
async function removeStaleSocket(path: string): Promise<void> {
  let connection: Deno.Conn;
  try {
    if ((await Deno.lstat(path)).isSocket !== true) return;
    connection = await Deno.connect({ transport: "unix", path });
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) await Deno.remove(path);
    return;
  }
  connection.close();
}
