import { assertEquals } from "@std/assert";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";
import { replay, reportSimulation } from "../../../lib/simulator/simulate.ts";

const upstreams = ["127.0.0.1:9001"];
const config = resolveConfig({
  upstreams,
  limiter: [
    { name: "second", key: "ip", limit: 1, window: "1s" },
    { name: "minute", key: "ip", limit: 3, window: "1m" },
  ],
});

Deno.test("reportSimulation() is a line for the whole and two tables", () => {
  const requests = [0, 100, 1500, 3000, 70_000, 70_001].map((atMs) => ({ atMs, ip: "192.0.2.9" }));
  requests.splice(4, 0, { atMs: 4500, ip: "192.0.2.9" }, { atMs: 4600, ip: "192.0.2.9" });
  assertEquals(
    reportSimulation(replay(config, requests), config.limiter, 5),
    `8 requests in 1m 10.001s: 4 admitted, 4 refused (50.0 %)

policy  refused  keys
second  2        1
minute  2        1

key        policy  refused  first at  last at
192.0.2.9  second  2        0.100s    1m 10.001s
192.0.2.9  minute  2        4.500s    4.600s
`,
  );
});

Deno.test("reportSimulation() lists so many keys, and none that could steer a terminal", () => {
  const named = resolveConfig({ upstreams, limiter: { key: "header:k", limit: 0, window: "1s" } });
  const requests = ["a", "b", "c"].map((k, atMs) => ({ atMs, headers: { k: `${k}\u009b2J` } }));
  const text = reportSimulation(replay(named, requests), named.limiter, 2);
  assertEquals(text.split("\n").slice(5), [
    "key   policy   refused  first at  last at",
    "a?2J  default  1        0.000s    0.000s",
    "b?2J  default  1        0.001s    0.001s",
    "",
    "and 1 more (--top N lists more)",
    "",
  ]);
});

Deno.test("reportSimulation() says that there are no limits", () => {
  assertEquals(
    reportSimulation(replay(resolveConfig({ upstreams }), [{ atMs: 5 }]), [], 5),
    "1 requests in 0.005s: 1 admitted, 0 refused\nThe configuration has no limits.\n",
  );
});

Deno.test("reportSimulation() says at the end what the trace does not", () => {
  const limited = resolveConfig({ upstreams, limiter: { key: "header:appid", limit: 1, window: "1s" } });
  assertEquals(
    reportSimulation(replay(limited, [{ atMs: 0 }, { atMs: 5 }]), limited.limiter, 5),
    `2 requests in 0.005s: 2 admitted, 0 refused

policy   refused  keys
default  0        0

All requests have no key for policy default (header:appid): not limited by it
`,
  );
});
