/** Types for configurations. */

import type { ProxyConfig } from "./proxy_config.ts";

/**
 * Returns the configuration as it is; lets an editor complete and check it, and gives `ctx.state` in the filters
 * the type of what `newContext` returns.
 *
 * Write `newContext` above the filters that use its state: types are inferred from top to bottom.
 *
 * @example In proxy.config.ts
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001", "127.0.0.1:9002"],
 *   newContext: () => ({ beta: false }),
 *   requestFilter(request, ctx) {
 *     ctx.state.beta = request.headers.has("x-beta");
 *   },
 * });
 * ```
 */
export function defineConfig<State = unknown>(config: ProxyConfig<State>): ProxyConfig<State> {
  return config;
}
