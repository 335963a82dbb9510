/** The proxy as a handler for the program's own `Deno.serve`. */

import type { ProxyConfig, ResolvedConfig } from "../config/proxy_config.ts";
import { resolveConfig } from "../config/resolve_config.ts";
import { StoppingError } from "../core/errors.ts";
import { type DenoListenerInfo, type DenoStreamContext, serveRequest } from "../engine/deno/deno_stream.ts";
import { ContentBuffers } from "../engine/deno/deno_content.ts";
import { DenoStreams } from "../engine/deno/deno_streams.ts";
import type { StreamHandler } from "../proxy/client_stream.ts";
import { CLIENT_IDLE_MS } from "./data_plane.ts";
import type { Opened, ReloadOutcome } from "./generations.ts";
import { keepAlive, RunningProxy } from "./running_proxy.ts";
import { alone } from "./workers/worker_command.ts";
import { completeOptions, type ProxyParts, type ServeOptions } from "./serve_options.ts";

/**
 * A proxy without a listener: a handler for `Deno.serve`, with members that control it.
 *
 * Requests that arrive after shutdown has begun get 503.
 */
export interface ProxyHandler extends Pick<RunningProxy, keyof RunningProxy> {
  /**
   * Forwards a request.
   *
   * @param request from `Deno.serve`, not a copy: a copy cannot become a WebSocket
   * @param info from `Deno.serve`; contains the address of the client
   * @returns the response of a server or of the proxy; rejects only with the error of {@linkcode ready}
   */
  (request: Request, info: Deno.ServeHandlerInfo): Promise<Response>;
  /**
   * Resolves when every server has been checked once. Earlier requests wait for it.
   *
   * @throws {Deno.errors.NotCapable} when a limiter has a `store` whose client may not read environment variables
   */
  readonly ready: Promise<void>;
}

/**
 * Makes a handler for the program's own `Deno.serve`; the program decides which requests it forwards.
 *
 * Health checks begin at once, and requests wait for their first round. The handler opens no listener: `listen` and
 * `onListen` are ignored, fields with underscores in their names are dropped, and the scheme is that of the request URL.
 * Stop the handler with {@linkcode ProxyHandler.shutdown} before its server: running requests and WebSockets then end
 * properly, while the runtime would cut them off.
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
  const proxy = new HandledProxy(alone(resolveConfig(config)), completeOptions(options));
  const handle = (request: Request, info: Deno.ServeHandlerInfo): Promise<Response> =>
    proxy.handle(request, info);
  return withMembers(handle, proxy) as ProxyHandler;
}

/** Adds the members of the proxy to a function, as getters, because a reload replaces their values. */
function withMembers(handle: object, proxy: HandledProxy): object {
  const members = {
    ...Object.getOwnPropertyDescriptors(RunningProxy.prototype),
    ready: { get: () => proxy.ready },
  };
  for (const [key, { get, value }] of entriesOf(members)) {
    if (key === "constructor") continue;
    const member = get === undefined
      ? { value: (...args: unknown[]): unknown => value.apply(proxy, args) }
      : { get: () => get.call(proxy) as unknown };
    Object.defineProperty(handle, key, member);
  }
  return handle;
}

function entriesOf(members: Record<PropertyKey, PropertyDescriptor>): [PropertyKey, PropertyDescriptor][] {
  return Reflect.ownKeys(members).map((key) => [key, members[key]!]);
}

// The listener belongs to the program, so what the runtime uses for a missing `Host` is unknown and is forwarded.
const COMMON = { fallbackAuthority: "", underscores: "drop", local: null } as const;
const PLAIN: DenoListenerInfo = { scheme: "http", ...COMMON };
const SECURE: DenoListenerInfo = { scheme: "https", ...COMMON };

/** The proxy behind a handler. */
class HandledProxy extends RunningProxy {
  readonly ready: Promise<void>;
  readonly #context: DenoStreamContext;
  #started = false;
  #refuses = false;

  constructor(config: ResolvedConfig, parts: ProxyParts) {
    super(config, parts);
    const { clock } = parts;
    const { wheel } = this.generations.resources;
    const streams = new DenoStreams(clock, wheel);
    const handler = this.#createHandler();
    // `stopping` stays `false`: it is for listeners that still serve while uploads end; here `#refuses` refuses all requests.
    this.#context = {
      clock,
      wheel,
      handler,
      idleMs: CLIENT_IDLE_MS,
      streams,
      buffers: new ContentBuffers(),
      stopping: false,
      ending: false,
      held: null,
    };
    this.ready = this.#start();
    // Requests reject with the same error. Without this, an unhandled rejection would end the process.
    this.ready.catch(() => {});
  }

  override async reload(...args: Parameters<RunningProxy["reload"]>): Promise<ReloadOutcome> {
    await this.ready;
    return await super.reload(...args);
  }

  #createHandler(): StreamHandler {
    const handler = this.generations.makeHandler();
    return {
      handle: (stream) => {
        if (this.#refuses) handler.refuse(stream, new StoppingError("The proxy stops"));
        else handler.handle(stream);
      },
      refuse: (stream, error) => handler.refuse(stream, error),
    };
  }

  async #start(): Promise<void> {
    using _alive = keepAlive();
    try {
      await this.generations.start();
    } catch (error) {
      await this.generations[Symbol.asyncDispose]();
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

  protected override open(): Promise<Opened> {
    return Promise.resolve({ commit: () => Promise.resolve(), cancel: () => {} });
  }

  protected override async stop(reason: string): Promise<number | null> {
    using _alive = keepAlive();
    // Bounded by the timeouts of checks and discovery. `ready` rejects with the reason of a failed start.
    if (!this.#started) await this.ready.catch(() => {});
    if (!this.#started) return null;
    const abandoned = await this.generations.drain(reason, () => {
      this.#refuses = true;
      return Promise.resolve();
    });
    this.#context.streams[Symbol.dispose]();
    await this.generations[Symbol.asyncDispose]();
    return abandoned;
  }
}
