/** Cost of choosing a server, by algorithm and number of servers, and of building a ring. */

import type { Balance } from "../lib/balancer/create_algorithm.ts";
import { LoadBalancer } from "../lib/balancer/load_balancer.ts";

const ALGORITHMS: readonly Balance[] = [
  "round-robin",
  "random",
  "least-connections",
  "p2c",
  "ewma",
  "consistent-hash",
  "fnv-hash",
  "first",
  (servers) => servers[0],
];
const KEYS = Array.from({ length: 1024 }, (_, i) => `/some/path/of/usual/length/${i * 7919}`);

function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:80`);
}

for (const count of [10, 1000]) {
  for (const balance of ALGORITHMS) {
    // As in production, some servers are busier than others.
    const balancer = LoadBalancer.from(addresses(count), { balance });
    balancer.pool.servers.forEach((server, i) => {
      for (let n = i % 5; n > 0; n--) server.acquire();
    });
    let turn = 0;
    Deno.bench({
      name: typeof balance === "function" ? "function of the user" : balance,
      group: `select of ${count} servers`,
      baseline: balance === "round-robin",
      fn() {
        const server = balancer.select(KEYS[turn++ & 1023]);
        server!.acquire().release();
      },
    });
  }
}

Deno.bench({
  name: "1,000 servers of weight 1: 160,000 points",
  group: "a new ketama ring",
  fn() {
    LoadBalancer.from(addresses(1000), { balance: "consistent-hash" }).select("key");
  },
});
