/** Cost of limiter decisions. Each figure is for a thousand decisions, so microseconds are nanoseconds per decision. */

import { systemClock } from "../lib/core/clock.ts";
import { systemRandom } from "../lib/core/random.ts";
import type { KeySource } from "../lib/limiter/key_spec.ts";
import { RateLimiter } from "../lib/limiter/limiter.ts";
import type { LimiterPolicy } from "../lib/limiter/policy.ts";

const DECISIONS = 1000;

interface Asked extends KeySource {
  readonly key: string;
}

function sources(count: number): readonly Asked[] {
  return Array.from({ length: count }, (_, n) => ({
    request: new Request("http://h/path", { headers: { appid: `client-${n}` } }),
    clientIp: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`,
    host: "h",
    target: "/path",
    key: `client-${n}`,
  }));
}

const FEW = sources(16);
/** More keys than fit into the caches of a processor. */
const MANY = sources(65_536);

function bench(
  name: string,
  group: string,
  policies: LimiterPolicy<Asked> | LimiterPolicy<Asked>[],
  asked: readonly Asked[],
): void {
  const limiter = new RateLimiter<Asked>(policies, { clock: systemClock, random: systemRandom });
  let next = 0;
  Deno.bench(`${DECISIONS} decisions, ${name}`, { group }, () => {
    // Read once, as in the proxy, which passes the arrival time of the request.
    const now = systemClock.now();
    for (let n = 0; n < DECISIONS; n++) {
      limiter.check(asked[next]!, now);
      next = (next + 1) % asked.length;
    }
  });
}

const key = (_request: Request, { key }: Asked): string => key;
const admitAll = { limit: 1_000_000_000, window: "1h" } as const;
const refuseAll = { limit: 0, window: "1h" } as const;

bench("16 keys, admitted", "one fixed window", { key, ...admitAll }, FEW);
bench("65,536 keys, admitted", "one fixed window", { key, ...admitAll }, MANY);
bench("16 keys, refused", "one fixed window", { key, ...refuseAll }, FEW);

bench("by address", "with the key taken from the request", { key: "ip", ...admitAll }, FEW);
bench("by a field", "with the key taken from the request", { key: "header:appid", ...admitAll }, FEW);

bench("sliding window", "other algorithms", { key, ...admitAll, algorithm: "sliding-window" }, FEW);
bench("token bucket", "other algorithms", { key, ...admitAll, algorithm: "token-bucket" }, FEW);
bench(
  "three fixed windows",
  "other algorithms",
  [1, 2, 3].map((n) => ({ name: `p${n}`, key, ...admitAll })),
  FEW,
);
