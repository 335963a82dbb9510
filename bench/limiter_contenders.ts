/**
 * Limiters with the same task: at most 100 requests a minute for each of 100,000 keys, and a million decisions.
 *
 * As in a proxy, each request has a new key string and its arrival time. So keys are made a few at a time, outside of the
 * measurement: if all were made before, half of the time would be spent on fetching them from memory. A limiter that reads
 * the clock at each decision has a separate line.
 */

import { RateLimiterMemory } from "rate-limiter-flexible";
import { systemClock } from "../lib/core/clock.ts";
import { systemRandom } from "../lib/core/random.ts";
import type { KeySource } from "../lib/limiter/key_spec.ts";
import { RateLimiter } from "../lib/limiter/limiter.ts";

/** The limiters. */
export const CONTENDERS = [
  "lbproxy, one tier",
  "lbproxy, one tier, asks the clock",
  "lbproxy, three tiers",
  "a plain Map",
  "a plain Map, asks the clock",
  "rate-limiter-flexible, asks the clock",
] as const;
/** Name of a limiter. */
export type Contender = typeof CONTENDERS[number];

const DECISIONS = 1_000_000;
const KEYS = 100_000;
const BATCH = 256;
const LIMIT = 100;
const WINDOW_MS = 60_000;

interface Asked extends KeySource {
  readonly key: string;
}

/** Decides about requests that arrived at a time, in milliseconds. */
type Decide = (requests: readonly Asked[], now: number) => void | Promise<void>;

/** Makes a million decisions; returns nanoseconds per decision. */
export async function measure(contender: Contender): Promise<number> {
  const decide = prepare(contender);
  // Warms up: creates the keys and compiles the code.
  await run(decide, 2 * KEYS);
  const spentMs = await run(decide, DECISIONS);
  if (contender.startsWith("rate-limiter-flexible")) await forgetAll();
  return spentMs * 1e6 / DECISIONS;
}

/** Milliseconds that the decisions took, without making the requests. */
async function run(decide: Decide, count: number): Promise<number> {
  let spentMs = 0;
  for (let from = 0; from < count; from += BATCH) {
    const requests = makeRequests(from, Math.min(BATCH, count - from));
    const start = performance.now();
    const deciding = decide(requests, start);
    if (deciding !== undefined) await deciding;
    spentMs += performance.now() - start;
  }
  return spentMs;
}

const REQUEST = new Request("http://h/");

function makeRequests(from: number, count: number): Asked[] {
  const requests = new Array<Asked>(count);
  for (let n = 0; n < count; n++) {
    const key = `client-${(from + n) * 7919 % KEYS}`;
    requests[n] = { request: REQUEST, clientIp: "192.0.2.1", host: "h", target: "/", key };
  }
  return requests;
}

function prepare(contender: Contender): Decide {
  switch (contender) {
    case "lbproxy, one tier":
      return askLimiter(1, false);
    case "lbproxy, one tier, asks the clock":
      return askLimiter(1, true);
    case "lbproxy, three tiers":
      return askLimiter(3, false);
    case "a plain Map":
      return askMap(false);
    case "a plain Map, asks the clock":
      return askMap(true);
    case "rate-limiter-flexible, asks the clock":
      return askFlexible;
  }
}

function askLimiter(tiers: number, asksClock: boolean): Decide {
  const policies = Array.from({ length: tiers }, (_, n) => ({
    name: `tier ${n}`,
    key: (_: Request, { key }: Asked) => key,
    limit: LIMIT,
    window: WINDOW_MS * (n + 1),
  }));
  const options = { clock: systemClock, random: systemRandom, maxKeys: KEYS * tiers };
  const limiter = new RateLimiter<Asked>(policies, options);
  if (asksClock) {
    return (requests) => {
      for (let n = 0; n < requests.length; n++) limiter.check(requests[n]!);
    };
  }
  return (requests, now) => {
    for (let n = 0; n < requests.length; n++) limiter.check(requests[n]!, now);
  };
}

/** A minimal fixed window; never deletes a key. */
function askMap(asksClock: boolean): Decide {
  const windows = new Map<string, { end: number; count: number }>();
  return (requests, came) => {
    for (let n = 0; n < requests.length; n++) {
      const { key } = requests[n]!;
      const now = asksClock ? performance.now() : came;
      const window = windows.get(key);
      if (window === undefined || window.end <= now) windows.set(key, { end: now + WINDOW_MS, count: 1 });
      else if (window.count < LIMIT) window.count++;
    }
  };
}

const flexible = new RateLimiterMemory({ points: LIMIT, duration: WINDOW_MS / 1000 });

async function askFlexible(requests: readonly Asked[]): Promise<void> {
  for (let n = 0; n < requests.length; n++) {
    try {
      await flexible.consume(requests[n]!.key);
    } catch {
      // This limiter rejects for a refused request.
    }
  }
}

/** That limiter holds a timer for each key. */
async function forgetAll(): Promise<void> {
  for (let n = 0; n < KEYS; n++) await flexible.delete(`client-${n}`);
}
