/** The proxy as a handler of one's own `Deno.serve`. */

import type { ConfigurationInfo } from "../admin/admin_target.ts";
import type { ProxyConfig, ResolvedConfig } from "../config/proxy_config.ts";
import { resolveConfig } from "../config/resolve_config.ts";
import { StoppingError } from "../core/errors.ts";
import { type DenoListenerInfo, type DenoStreamContext, serveRequest } from "../engine/deno/deno_stream.ts";
import { DenoStreams } from "../engine/deno/deno_streams.ts";
import type { LimitControl } from "../limiter/limit_control.ts";
import type { MetricsFormat } from "../observe/metrics/exposition.ts";
import type { StreamHandler } from "../proxy/client_stream.ts";
import type { Pool } from "../upstream/pool.ts";
import { CLIENT_IDLE_MS } from "./data_plane.ts";
import { Generations, type ReloadOutcome } from "./generations.ts";
import { completeOptions, type ProxyParts, type ServeOptions } from "./serve_options.ts";

/** A proxy without a listener: a handler for `Deno.serve`, and what steers it. */
export interface ProxyHandler extends AsyncDisposable {
  /**
   * Forwards a request.
   *
   * @param request as `Deno.serve` gave it; a copy cannot become a WebSocket
   * @param info as `Deno.serve` gave it; says who the client is
   * @returns the response of a server or of the proxy; rejects only with what {@linkcode ready} rejects with
   */
  (request: Request, info: Deno.ServeHandlerInfo): Promise<Response>;
  /**
   * Resolves when every server has been checked once. Requests that come sooner wait for it.
   *
   * @throws {Deno.errors.NotCapable} when a limiter has a `store` whose client may not read environment variables
   */
  readonly ready: Promise<void>;
  /** Resolves when the proxy has stopped. */
  readonly finished: Promise<void>;
  /** Its pools by name, to add, remove and weigh servers while it runs; others after a reload. */
  readonly pools: ReadonlyMap<string, Pool>;
  /** Its limits, to ban and to reset keys while it runs; `null` when nothing is limited. Another one after a reload. */
  readonly limiter: LimitControl | null;
  /** The configuration that runs: its number, since when, and the SHA-256 of its description. */
  readonly configuration: ConfigurationInfo;
  /**
   * Its metrics as text.
   *
   * @param format `"prometheus"` (text, version 0.0.4) when left out, or `"openmetrics"`
   */
  metrics(format?: MetricsFormat): string;
  /**
   * Puts another configuration in the place of the one that runs, without a request that fails; see
   * `ProxyServer.reload`. Rejects only with what {@linkcode ready} rejects with.
   */
  reload(config: ProxyConfig): Promise<ReloadOutcome>;
  /**
   * Finishes the requests that run, ends the health checks, and closes every connection to a server.
   *
   * Requests that come from then on get 503. What has not ended within `gracePeriod` is cut off. Resolves as soon as nothing
   * runs any more; calling it again gives the same promise.
   *
   * @param reason what the log says of it; `"shutdown()"` when left out
   */
  shutdown(reason?: string): Promise<void>;
}

/**
 * Makes a handler for a `Deno.serve` of one's own, which may decide what of its requests is forwarded.
 *
 * Health checks begin at once, and requests wait for their first round. The handler opens no listener: `listen` and
 * `onListen` are ignored, fields with underscores in their names are dropped, and `http` or `https` is what the URL of the
 * request says. Stop it with {@linkcode ProxyHandler.shutdown} before its server: requests and WebSockets that run then end
 * properly, which the runtime would break off.
 *
 * @throws {ConfigError} when the configuration has mistakes; it lists all of them
 *
 * @example
 * ```ts
 * import { createHandler } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using upstream = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("hello"));
 * await using handler = createHandler({ upstreams: [`127.0.0.1:${upstream.addr.port}`] });
 * await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request, info) => {
 *   return new URL(request.url).pathname === "/version" ? new Response("1.0") : handler(request, info);
 * });
 *
 * const ask = async (path: string) => await (await fetch(`http://127.0.0.1:${server.addr.port}${path}`)).text();
 * assertEquals([await ask("/"), await ask("/version")], ["hello", "1.0"]);
 * ```
 */
export function createHandler<State>(config: ProxyConfig<State>, options: ServeOptions = {}): ProxyHandler {
  const proxy = new HandledProxy(resolveConfig(config), completeOptions(options));
  const handle = (request: Request, info: Deno.ServeHandlerInfo): Promise<Response> =>
    proxy.handle(request, info);
  // Getters, since a reload makes others.
  return Object.defineProperties(handle, {
    ready: { value: proxy.ready },
    finished: { value: proxy.finished },
    pools: { get: () => proxy.pools },
    limiter: { get: () => proxy.limiter },
    configuration: { get: () => proxy.configuration },
    metrics: { value: (format?: MetricsFormat): string => proxy.metrics(format) },
    reload: { value: (next: ProxyConfig): Promise<ReloadOutcome> => proxy.reload(next) },
    shutdown: { value: (reason?: string): Promise<void> => proxy.shutdown(reason) },
    [Symbol.asyncDispose]: { value: (): Promise<void> => proxy.shutdown("disposed") },
  }) as ProxyHandler;
}

// The listener is the program's: nobody knows what the runtime puts in place of a missing `Host`, so that goes on.
const COMMON = { fallbackAuthority: "", underscores: "drop", local: null } as const;
const PLAIN: DenoListenerInfo = { scheme: "http", ...COMMON };
const SECURE: DenoListenerInfo = { scheme: "https", ...COMMON };

/** The proxy behind a handler. */
class HandledProxy {
  readonly ready: Promise<void>;
  readonly #parts: ProxyParts;
  readonly #generations: Generations;
  readonly #context: DenoStreamContext;
  readonly #finished = Promise.withResolvers<void>();
  #started = false;
  #stopping = false;
  #shutdown: Promise<void> | null = null;

  constructor(config: ResolvedConfig, parts: ProxyParts) {
    this.#parts = parts;
    const generations = this.#generations = new Generations(config, parts);
    const { clock } = parts;
    const { wheel } = generations.resources;
    const streams = new DenoStreams(clock, wheel);
    const handler = this.#createHandler();
    // `stopping` is for listeners that go on serving while uploads end; here every request is refused from then on.
    this.#context = { clock, wheel, handler, idleMs: CLIENT_IDLE_MS, streams, stopping: false };
    this.ready = this.#start();
    // Requests reject with it; without this an unheard rejection would end the process.
    this.ready.catch(() => {});
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  get pools(): ReadonlyMap<string, Pool> {
    return this.#generations.pools;
  }

  get limiter(): LimitControl | null {
    return this.#generations.limiter;
  }

  metrics(format?: MetricsFormat): string {
    return this.#generations.metrics(format);
  }

  get configuration(): ConfigurationInfo {
    return this.#generations.info;
  }

  async reload(config: ProxyConfig): Promise<ReloadOutcome> {
    await this.ready;
    return await this.#generations.reload(config, "reload()");
  }

  #createHandler(): StreamHandler {
    const generations = this.#generations;
    return {
      handle: (stream) => {
        if (this.#stopping) generations.refuse(stream, new StoppingError("The proxy stops"));
        else generations.handle(stream);
      },
      refuse: (stream, error) => generations.refuse(stream, error),
    };
  }

  async #start(): Promise<void> {
    using _alive = keepAlive();
    try {
      await this.#generations.start();
    } catch (error) {
      await this.#generations[Symbol.asyncDispose]();
      throw error;
    }
    this.#started = true;
  }

  handle(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
    if (!this.#started) return this.ready.then(() => this.#serve(request, info));
    return this.#serve(request, info);
  }

  #serve(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
    const listener = request.url.startsWith("https:") ? SECURE : PLAIN;
    return serveRequest(request, info as Deno.ServeHandlerInfo<Deno.NetAddr>, listener, this.#context);
  }

  shutdown(reason = "shutdown()"): Promise<void> {
    this.#shutdown ??= this.#stop(reason);
    return this.#shutdown;
  }

  async #stop(reason: string): Promise<void> {
    using _alive = keepAlive();
    // Bounded by the timeouts of checks and discovery. Whoever awaits `ready` learns why a start failed.
    if (!this.#started) await this.ready.catch(() => {});
    if (this.#started) {
      const abandonedRequests = await this.#generations.drain(reason, () => {
        this.#stopping = true;
        return Promise.resolve();
      });
      this.#context.streams[Symbol.dispose]();
      await this.#generations[Symbol.asyncDispose]();
      this.#parts.observer.event({ kind: "stopped", abandonedRequests });
    }
    this.#finished.resolve();
  }
}

/** Keeps the process running: timers of the clock do not, and the program may have no listener open. */
function keepAlive(): Disposable {
  const id = setInterval(() => {}, 60_000);
  return { [Symbol.dispose]: () => clearInterval(id) };
}
