/** The proxy as a function. */

import { type Clock, systemClock } from "../core/clock.ts";
import { type Random, systemRandom } from "../core/random.ts";
import type { ProxyConfig } from "../config/proxy_config.ts";
import { resolveConfig } from "../config/resolve_config.ts";
import { GuardedObserver, type Observer, silentObserver } from "../observe/observer.ts";
import { loadLimiterStores } from "./limiter_stores.ts";
import { ProxyServer } from "./proxy_server.ts";

/** What {@linkcode serve} takes beside the configuration. */
export interface ServeOptions {
  /** Who is told of requests, failures and health. @default {nobody} */
  observer?: Observer;
  /** Time. @default {the machine's} */
  clock?: Clock;
  /** Randomness. @default {Math.random} */
  random?: Random;
}

/**
 * Starts a proxy and resolves once it listens.
 *
 * Servers that have a health check are checked once before, so that the first request does not find a dead one.
 *
 * @throws {ConfigError} when the configuration has mistakes; it lists all of them
 * @throws {ListenError} when an address cannot be listened at
 *
 * @example
 * ```ts
 * import { serve } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using upstream = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("hello"));
 * await using proxy = await serve({
 *   listen: "127.0.0.1:0",
 *   upstreams: [`127.0.0.1:${upstream.addr.port}`],
 * });
 * const response = await fetch(`http://${proxy.addresses[0]}/`);
 * assertEquals(await response.text(), "hello");
 * ```
 */
export async function serve<State>(
  config: ProxyConfig<State>,
  options: ServeOptions = {},
): Promise<ProxyServer> {
  const { observer } = options;
  return await startProxy(
    resolveConfig(config),
    observer === undefined ? options : { ...options, observer: new GuardedObserver(observer) },
  );
}

/** Starts a proxy from a configuration that has been resolved already. */
export async function startProxy(
  config: ReturnType<typeof resolveConfig>,
  options: ServeOptions = {},
): Promise<ProxyServer> {
  const { observer = silentObserver, clock = systemClock, random = systemRandom } = options;
  const stores = await loadLimiterStores(config.limiter, { clock, observer });
  const server = new ProxyServer(config, { observer, clock, random, stores });
  await server.start();
  return server;
}
