import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Algorithm,
  fixedWindow,
  makeVerdict,
  slidingWindow,
  type State,
  tokenBucket,
} from "../../../lib/limiter/algorithm.ts";
import type { Decision } from "../../../lib/limiter/policy.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { MemoryStore } from "../../../lib/limiter/memory_store.ts";
import type { AlgorithmName, LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { redisTest } from "../../support/redis_server.ts";
import { storeOn, timedConnection } from "../../support/timed_store.ts";

const SEED = { seed: 20260727, numRuns: 150 };
const ALGORITHMS: readonly (readonly [AlgorithmName, Algorithm])[] = [
  ["fixed-window", fixedWindow],
  ["sliding-window", slidingWindow],
  ["token-bucket", tokenBucket],
];

redisTest(
  "decideScript() does what the algorithms do, whatever the times, costs and rules",
  async (redis) => {
    let now = 0;
    let run = 0;
    await using connection = await timedConnection(redis.url, () => now);
    const { link } = connection;
    const windowUs = fc.constantFrom(1, 7, 1000, 1_000_000, 86_400_000_000);
    const traces = windowUs.chain((windowUs) =>
      fc.record({
        algorithm: fc.constantFrom(...ALGORITHMS),
        windowUs: fc.constant(windowUs),
        penalize: fc.boolean(),
        bounded: fc.boolean(),
        list: fc.array(
          fc.record({
            // The clock may be set back, and limits differ from request to request.
            gap: fc.oneof(
              fc.integer({ min: -windowUs, max: 3 * windowUs }),
              fc.integer({ min: 0, max: Math.ceil(windowUs / 10) }),
              fc.constantFrom(-900_000, -1_100_000, -86_400_000_000),
            ),
            cost: fc.oneof(fc.integer({ min: 0, max: 4 }), fc.constantFrom(0.25, 1.5, 1000)),
            limit: fc.integer({ min: 0, max: 12 }),
            burst: fc.integer({ min: 1, max: 20 }),
          }),
          { maxLength: 40 },
        ),
      })
    );
    await fc.assert(
      fc.asyncProperty(traces, async ({ algorithm: [name, decide], windowUs, penalize, bounded, list }) => {
        const key = `trace:${run++}`;
        const verdict = makeVerdict();
        let state: State = { a: 0, b: 0, c: 0 };
        now = 1_767_225_600_000_000;
        for (const { gap, cost, limit, burst } of list) {
          now += gap;
          decide(state, now, cost, { limit, windowUs, burst, penalize, bounded }, verdict);
          if (verdict.admitted || verdict.corrects || penalize) state = { ...verdict.next };
          const args = [
            name[0]!,
            ...[limit, windowUs, burst, cost].map(String),
            String((penalize ? 1 : 0) + (bounded ? 4 : 0)),
          ];
          const reply = await link.run("decide", 1, [key, "1", "0", ...args]);
          const orNever = (value: number) => value === Infinity ? -1 : value;
          assertEquals(reply, [
            now,
            verdict.admitted ? 1 : 0,
            verdict.admitted ? 1 : 0,
            verdict.remaining,
            orNever(verdict.retryAfterUs),
            orNever(verdict.resetUs),
            orNever(Math.trunc(verdict.next.a)),
          ]);
        }
      }),
      SEED,
    );
  },
);

interface Source extends KeySource {
  readonly keys: readonly (string | null)[];
  readonly cost: number;
}

const REQUEST = new Request("http://a.example/");

/** One to three tiers of any algorithm, with short windows. */
const tiers: fc.Arbitrary<LimiterPolicy<Source>[]> = fc.array(
  fc.record({
    algorithm: fc.constantFrom(...ALGORITHMS.map(([name]) => name), "concurrency"),
    limit: fc.integer({ min: 0, max: 8 }),
    windowMs: fc.constantFrom(5, 50, 1000),
    penalize: fc.boolean(),
    dryRun: fc.boolean(),
    late: fc.boolean(),
  }),
  { minLength: 1, maxLength: 3 },
).map((list) =>
  list.map(({ algorithm, limit, windowMs, penalize, dryRun, late }, i): LimiterPolicy<Source> => ({
    name: `tier ${i}: ${algorithm}`,
    key: (_, source) => source.keys[i]!,
    algorithm,
    limit,
    window: windowMs,
    dryRun,
    cost: (source) => source.cost,
    ...(algorithm === "concurrency" ? {} : { penalize }),
    ...(late && algorithm !== "concurrency" ? { charge: ({ cost }) => cost === 2 ? 5 : cost / 2 } : {}),
  }))
);

/** Requests of a few keys, in whole milliseconds; some end at once, some later. */
const requests = fc.array(
  fc.record({
    gapMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 60 }), fc.constantFrom(1000, 3000)),
    keys: fc.array(fc.constantFrom("a", "b", null), { minLength: 3, maxLength: 3 }),
    cost: fc.integer({ min: 0, max: 3 }),
    ends: fc.integer({ min: 0, max: 3 }),
    reached: fc.boolean(),
  }),
  { maxLength: 30 },
);

/** From some request on, a configuration with other windows and limits of the same policies. */
const change = fc.record({
  at: fc.nat(30),
  windowMs: fc.constantFrom(1, 5, 50, 1000),
  limit: fc.integer({ min: 0, max: 8 }),
});

function comparable(decision: Decision): unknown {
  if (decision.kind === "unlimited") return decision;
  const { policy, lease: _, due: __, each, ...rest } = { lease: null, due: null, ...decision };
  const others = each?.map(({ policy, ...rest }) => ({ policy: policy.name, ...rest }));
  return { ...rest, policy: policy.name, each: others };
}

for (const remembers of [false, true]) {
  const what = remembers ? "admits the same requests as" : "decides like";
  redisTest(
    `RedisStore ${what} the table in memory, on the same requests${
      remembers ? ", remembering refusals" : ""
    }`,
    async (redis) => {
      let nowUs = () => 0;
      let run = 0;
      await using connection = await timedConnection(redis.url, () => nowUs());
      await fc.assert(
        fc.asyncProperty(tiers, requests, change, async (policies, list, change) => {
          using stack = new DisposableStack();
          const clock = new FakeClock();
          const random = seededRandom(1);
          const table = SharedTable.create({ clock, random, sketches: policies.length });
          const local = new MemoryStore(SharedTable.create({ clock, random, sketches: policies.length }));
          nowUs = () => table.now();
          const scope = `run ${run++}`;
          const open = (policies: readonly LimiterPolicy<Source>[]): RateLimiter<Source>[] => {
            const resolved = resolvePolicies(policies);
            const store = storeOn(connection, resolved, local, { clock, scope, remembers });
            return [
              stack.use(new RateLimiter<Source>(resolved, { clock, random, table })),
              stack.use(new RateLimiter<Source>(resolved, { clock, random, store })),
            ];
          };
          let [here, there] = open(policies);
          const running: { left: number; end: () => void }[] = [];
          for (const [i, { gapMs, keys, cost, ends, reached }] of list.entries()) {
            const { at, windowMs, limit } = change;
            if (i === at) {
              [here, there] = open(policies.map((policy) => {
                // In Redis the window has nothing to do with permits, in memory those of another one are apart.
                return {
                  ...policy,
                  limit,
                  ...(policy.algorithm === "concurrency" ? {} : { window: windowMs }),
                };
              }));
            }
            clock.tick(gapMs);
            for (const each of running.splice(0)) {
              if (each.left-- <= 0) each.end();
              else running.push(each);
            }
            const source: Source = {
              request: REQUEST,
              clientIp: "192.0.2.1",
              target: "/",
              host: "a.example",
              keys,
              cost,
            };
            const [memory, redis] = [here!, there!];
            const expected = memory.check(source);
            const found = await redis.decide(source);
            if (remembers) assertEquals(found.kind, expected.kind);
            else assertEquals(comparable(found), comparable(expected));
            const end = () => {
              for (const [limiter, decision] of [[memory, expected], [redis, found]] as const) {
                if (decision.kind !== "allowed") continue;
                decision.lease?.release();
                limiter.settle(decision, source, reached);
              }
            };
            running.push({ left: ends, end });
          }
        }),
        SEED,
      );
    },
  );
}
