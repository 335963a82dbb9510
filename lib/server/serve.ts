/** The proxy as a function. */

import type { ProxyConfig, ResolvedConfig } from "../config/proxy_config.ts";
import { resolveConfig } from "../config/resolve_config.ts";
import { ProxyServer } from "./proxy_server.ts";
import { alone } from "./workers/find_worker_problems.ts";
import { completeOptions, type ProxyParts, type ServeOptions } from "./serve_options.ts";

/**
 * Starts a proxy and resolves once it listens.
 *
 * Servers that have a health check are checked once before, so that the first request does not find a dead one.
 *
 * Serves in this process alone: workers load a configuration by the path of its module, which only the program has.
 *
 * @throws {ConfigError} when the configuration has mistakes, or several workers; it lists all of them
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
  return await startProxy(alone(resolveConfig(config)), completeOptions(options));
}

/** Starts a proxy from a configuration that has been resolved already. */
export async function startProxy(config: ResolvedConfig, parts: ProxyParts): Promise<ProxyServer> {
  const server = new ProxyServer(config, parts);
  await server.start();
  return server;
}
