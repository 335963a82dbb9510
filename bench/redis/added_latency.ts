/** Added latency of a request through the proxy because of limits. */

import type { ProxyConfig } from "../../lib/config/proxy_config.ts";
import type { RedisServer } from "../../tests/support/redis_server.ts";
import { startProxy } from "../../tests/support/start_proxy.ts";
import { startUpstream } from "../../tests/support/start_upstream.ts";
import { quantile } from "./quantiles.ts";

const WARM_UP = 500;
const REQUEST = "GET / HTTP/1.1\r\nHost: h\r\nid: a\r\n\r\n";

/** Rows for a proxy without limits, one that counts in memory, and one that counts in Redis. */
export async function measureAddedLatency(
  redis: RedisServer,
  requests: number,
): Promise<Record<string, string>[]> {
  const policy = { key: "header:id", limit: 1_000_000_000, window: "1h" } as const;
  const limiters: readonly [name: string, limiter: NonNullable<ProxyConfig["limiter"]> | undefined][] = [
    ["no limiter", undefined],
    ["in memory", policy],
    ["in Redis", {
      ...policy,
      store: { type: "redis", url: redis.url, timeout: "5s", onStoreError: "closed" },
    }],
  ];
  await using stack = new AsyncDisposableStack();
  const upstream = stack.use(startUpstream());
  const all = [];
  for (const [name, limiter] of limiters) {
    const proxy = stack.use(
      await startProxy({ upstreams: [upstream.address], ...(limiter === undefined ? {} : { limiter }) }),
    );
    all.push({ name, connection: stack.use(await proxy.connect()), waits: [] as number[] });
  }
  // In turn, so that a drift of the machine's speed affects all.
  for (let i = 0; i < WARM_UP + requests; i++) {
    for (const { name, connection, waits } of all) {
      const start = performance.now();
      await connection.write(REQUEST);
      const { status } = await connection.readResponse("GET");
      if (status !== 200) throw new Error(`${name}: a request got ${status}`);
      if (i >= WARM_UP) waits.push(performance.now() - start);
    }
  }
  const [bare] = all;
  return all.map(({ name, waits }) => {
    const cells = [0.5, 0.99].map((part) => [quantile(waits, part), quantile(bare!.waits, part)] as const);
    return {
      limiter: name,
      "p50 ms": cells[0]![0].toFixed(3),
      "added": (cells[0]![0] - cells[0]![1]).toFixed(3),
      "p99 ms": cells[1]![0].toFixed(3),
      "added at p99": (cells[1]![0] - cells[1]![1]).toFixed(3),
    };
  });
}
