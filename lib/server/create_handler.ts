/** The proxy as a handler of one's own `Deno.serve`. */

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
 * A proxy without a listener: a handler for `Deno.serve`, and what steers it.
 *
 * Requests that come once it stops get 503.
 */
export interface ProxyHandler extends Pick<RunningProxy, keyof RunningProxy> {
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
  const proxy = new HandledProxy(alone(resolveConfig(config)), completeOptions(options));
  const handle = (request: Request, info: Deno.ServeHandlerInfo): Promise<Response> =>
    proxy.handle(request, info);
  return withMembers(handle, proxy) as ProxyHandler;
}

/** Gives a function the members of an object; what is read of it is read when it is asked for, since a reload makes others. */
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

// The listener is the program's: nobody knows what the runtime puts in place of a missing `Host`, so that goes on.
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
    // `stopping` is for listeners that go on serving while uploads end; here every request is refused from then on.
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
    // Requests reject with it; without this an unheard rejection would end the process.
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
    // Bounded by the timeouts of checks and discovery. Whoever awaits `ready` learns why a start failed.
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
