/** Tests that run with every transport. */

import { speakHttp2 } from "./raw_upstream.ts";
import { isSinglePool, type PoolOptions, type PoolServers } from "../../lib/config/pool_options.ts";
import { startProxy, type TestConfig, type TestProxy } from "./start_proxy.ts";

/** The built-in transports. */
export const TRANSPORTS = ["http1", "h2", "fetch"] as const;
/** Name of a transport. */
export type TransportName = typeof TRANSPORTS[number];

/** Limitations of each transport that the proxy cannot change. */
const CANNOT = {
  http1: {},
  h2: {
    "tell how a server failed": "all that goes wrong behind the bridge is a reset of the stream",
    "give a head before its end":
      "a stream that is reset right behind its head is one that failed before, and becomes a 502",
    "send before the server has spoken":
      "a request waits for the SETTINGS of the server, so that none is lost with a connection that breaks first",
    "show Expect to servers": "the bridge keeps it to itself",
    "leave names of fields as they are": "they are in lower case (RFC 9113 section 8.2)",
    "leave TE to clients": "it says `trailers` itself, as it passes them on",
  },
  fetch: {
    "1xx of servers": "it keeps them to itself",
    "bytes above 0x7F": "it writes them percent-encoded",
    "every target": "it would change some, and those are refused",
    "length of no content": "it leaves that out",
    "content without chunks": "content that it streams goes in chunks",
    "tell when it is connected": "it says nothing before the response",
    "trailers": "there is no access to them",
    "parse strictly": "it takes some of what RFC 9112 forbids",
  },
} as const;

type KeyOf<Union> = Union extends unknown ? keyof Union : never;

/** Whether a transport supports a feature. */
export function transportCan(
  transport: TransportName,
  what: KeyOf<typeof CANNOT[TransportName]>,
): boolean {
  return !Object.hasOwn(CANNOT[transport], what);
}

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
      fn: async () => {
        using _servers = speakHttp2(transport === "h2");
        await test((config) => startProxy(withTransport(config, transport)), transport);
      },
    });
  }
}

/** The configuration with this transport for every pool. */
export function withTransport<State>(config: TestConfig<State>, transport: TransportName): TestConfig<State> {
  const { upstreams } = config;
  const by: Partial<PoolOptions> = transport === "h2" ? { protocol: "h2" } : { transport };
  if (Array.isArray(upstreams)) return { ...config, upstreams: { servers: upstreams, ...by } };
  if (isSinglePool(upstreams as Record<string, unknown>)) {
    return { ...config, upstreams: { ...upstreams as PoolOptions, ...by } };
  }
  const pools = Object.entries(upstreams as Record<string, PoolServers | PoolOptions>)
    .map(([name, pool]): [string, PoolOptions] => [name, isServers(pool) ? { servers: pool } : pool]);
  return {
    ...config,
    upstreams: Object.fromEntries(pools.map(([name, pool]) => [name, { ...pool, ...by }])),
  };
}

function isServers(pool: PoolServers | PoolOptions): pool is PoolServers {
  return Array.isArray(pool);
}
