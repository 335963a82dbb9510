/** Every behaviour of the proxy is tested with every transport. */

import { isSinglePool, type PoolOptions, type PoolServers } from "../../lib/config/pool_options.ts";
import { startProxy, type TestConfig, type TestProxy } from "./start_proxy.ts";

/** The transports that are built in. */
export const TRANSPORTS = ["http1", "fetch"] as const;
/** Name of one of them. */
export type TransportName = typeof TRANSPORTS[number];

/** Starts a proxy that uses the transport of the test. */
export type Start = <State = unknown>(config: TestConfig<State>) => Promise<TestProxy>;

/** Registers a test for each transport. */
export function eachTransport(
  name: string,
  test: (start: Start, transport: TransportName) => Promise<void>,
  options: Omit<Deno.TestDefinition, "name" | "fn"> = {},
): void {
  for (const transport of TRANSPORTS) {
    Deno.test({
      ...options,
      name: `${name} (${transport})`,
      fn: () => test((config) => startProxy(withTransport(config, transport)), transport),
    });
  }
}

/** The same configuration with this transport for every pool. */
export function withTransport<State>(config: TestConfig<State>, transport: TransportName): TestConfig<State> {
  const { upstreams } = config;
  if (Array.isArray(upstreams)) return { ...config, upstreams: { servers: upstreams, transport } };
  if (isSinglePool(upstreams as Record<string, unknown>)) {
    return { ...config, upstreams: { ...upstreams as PoolOptions, transport } };
  }
  const pools = Object.entries(upstreams as Record<string, PoolServers | PoolOptions>)
    .map(([name, pool]): [string, PoolOptions] => [name, isServers(pool) ? { servers: pool } : pool]);
  return {
    ...config,
    upstreams: Object.fromEntries(pools.map(([name, pool]) => [name, { ...pool, transport }])),
  };
}

function isServers(pool: PoolServers | PoolOptions): pool is PoolServers {
  return Array.isArray(pool);
}
