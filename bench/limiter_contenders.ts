/** Limiters with the same task: at most 100 a minute for each of 100,000 keys, asked a million times. */

import { RateLimiterMemory } from "rate-limiter-flexible";
import { systemClock } from "../lib/core/clock.ts";
import { systemRandom } from "../lib/core/random.ts";
import type { KeySource } from "../lib/limiter/key_spec.ts";
import { RateLimiter } from "../lib/limiter/limiter.ts";

/** Who takes part. */
export const CONTENDERS = [
  "lbproxy, one tier",
  "lbproxy, three tiers",
  "a plain Map",
  "rate-limiter-flexible",
] as const;
/** Name of one of them. */
export type Contender = typeof CONTENDERS[number];

const DECISIONS = 1_000_000;
const KEYS = 100_000;
const LIMIT = 100;
const WINDOW_MS = 60_000;

interface Asked extends KeySource {
  readonly key: string;
}

const REQUEST = new Request("http://h/");
const ASKED: readonly Asked[] = Array.from({ length: KEYS }, (_, n) => ({
  request: REQUEST,
  clientIp: "192.0.2.1",
  host: "h",
  target: "/",
  key: `client-${n}`,
}));

/** A million decisions; how many nanoseconds each took. */
export async function measure(contender: Contender): Promise<number> {
  const run = prepare(contender);
  // Once for the keys to be there and the code to be compiled.
  await run(KEYS);
  const start = performance.now();
  await run(DECISIONS);
  return (performance.now() - start) * 1e6 / DECISIONS;
}

function prepare(contender: Contender): (count: number) => void | Promise<void> {
  switch (contender) {
    case "lbproxy, one tier":
      return askLimiter(1);
    case "lbproxy, three tiers":
      return askLimiter(3);
    case "a plain Map":
      return askMap();
    case "rate-limiter-flexible":
      return askFlexible();
  }
}

function askLimiter(tiers: number): (count: number) => void {
  const policies = Array.from({ length: tiers }, (_, n) => ({
    name: `tier ${n}`,
    key: (_: Request, { key }: Asked) => key,
    limit: LIMIT,
    window: WINDOW_MS * (n + 1),
  }));
  const options = { clock: systemClock, random: systemRandom, maxKeys: KEYS * tiers };
  const limiter = new RateLimiter<Asked>(policies, options);
  return (count) => {
    for (let n = 0; n < count; n++) limiter.check(ASKED[n * 7919 % KEYS]!);
  };
}

/** The least that a fixed window can be; never forgets a key. */
function askMap(): (count: number) => void {
  const windows = new Map<string, { end: number; count: number }>();
  return (count) => {
    for (let n = 0; n < count; n++) {
      const { key } = ASKED[n * 7919 % KEYS]!;
      const now = performance.now();
      const window = windows.get(key);
      if (window === undefined || window.end <= now) windows.set(key, { end: now + WINDOW_MS, count: 1 });
      else if (window.count < LIMIT) window.count++;
    }
  };
}

function askFlexible(): (count: number) => Promise<void> {
  const limiter = new RateLimiterMemory({ points: LIMIT, duration: WINDOW_MS / 1000 });
  return async (count) => {
    for (let n = 0; n < count; n++) {
      try {
        await limiter.consume(ASKED[n * 7919 % KEYS]!.key);
      } catch {
        // It rejects what it refuses.
      }
    }
    // It holds a timer for each key.
    if (count > KEYS) { for (const { key } of ASKED) await limiter.delete(key); }
  };
}
