import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { systemClock as clock } from "../../../lib/core/clock.ts";
import type { Decision } from "../../../lib/limiter/policy.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import type { RateLimiter } from "../../../lib/limiter/limiter.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { redisTest } from "../../support/redis_server.ts";
import { type Fault, FlakyInstance } from "./flaky_connection.ts";

const AT_ONCE = 4;
const BUDGET = 1_000_000;
const COST = 7;

interface Source extends KeySource {
  readonly cost: number;
  readonly amount: number;
}

function sourceOf(cost: number, amount: number): Source {
  const request = new Request("http://a.example/");
  return { request, clientIp: "192.0.2.1", target: "/", host: "a.example", cost, amount };
}

/** Permits, and a budget that says in the end what a request came to; a request without cost needs no permit. */
const POLICIES: readonly LimiterPolicy<Source>[] = [
  { name: "at once", key: "ip", limit: AT_ONCE, algorithm: "concurrency", exempt: ({ cost }) => cost === 0 },
  {
    name: "budget",
    key: "ip",
    limit: BUDGET,
    window: "1h",
    cost: ({ cost }) => cost,
    charge: ({ amount }) => amount,
  },
];

/** What is counted of the budget; asks the store, behind all that was sent. */
async function spent({ limiter }: FlakyInstance<Source>): Promise<number> {
  const decision = await limiter.decide(sourceOf(0, 0));
  assert(decision.kind === "allowed", JSON.stringify(decision));
  return BUDGET - decision.remaining;
}

type Step =
  | { do: "ask"; who: 0 | 1; amount: number }
  | { do: "end"; which: number }
  | { do: "fail"; how: Fault }
  | { do: "lose" }
  | { do: "restore"; lateFirst: boolean };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      arbitrary: fc.record({
        do: fc.constant("ask" as const),
        who: fc.constantFrom(0 as const, 1 as const),
        amount: fc.integer({ min: 0, max: 20 }),
      }),
      weight: 6,
    },
    { arbitrary: fc.record({ do: fc.constant("end" as const), which: fc.nat() }), weight: 5 },
    {
      arbitrary: fc.record({
        do: fc.constant("fail" as const),
        how: fc.constantFrom<Fault>("unsent", "reply lost", "late"),
      }),
      weight: 2,
    },
    { arbitrary: fc.record({ do: fc.constant("lose" as const) }), weight: 1 },
    { arbitrary: fc.record({ do: fc.constant("restore" as const), lateFirst: fc.boolean() }), weight: 2 },
  ),
  { maxLength: 60 },
);

redisTest(
  "RedisStore keeps every permit and counts every request once, whatever is lost with a connection",
  async (redis) => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const prefix = `run${run++}`;
        const options = { url: redis.url, prefix, policies: POLICIES, clock };
        await using one = await FlakyInstance.start(options);
        await using two = await FlakyInstance.start(options);
        const running: { limiter: RateLimiter<Source>; decision: Decision; source: Source }[] = [];
        const waiting: Promise<void>[] = [];
        let expected = 0;
        const ask = async ({ limiter }: FlakyInstance<Source>, amount: number): Promise<void> => {
          const source = sourceOf(COST, amount);
          const decision = await limiter.decide(source);
          if (decision.kind !== "allowed") return;
          running.push({ limiter, decision, source });
          assert(running.length <= AT_ONCE, `${running.length} at once`);
        };
        const end = (which: number): void => {
          if (running.length === 0) return;
          const [{ limiter, decision, source }] = running.splice(which % running.length, 1) as [
            (typeof running)[0],
          ];
          if (decision.kind === "allowed") decision.lease?.release();
          limiter.settle(decision, source);
          expected += source.amount;
        };
        for (const step of list) {
          switch (step.do) {
            case "ask": {
              const asked = ask([one, two][step.who]!, step.amount);
              // Of a connection that fails nothing is heard before it is lost.
              if (step.who === 1 || one.flaky.works) await asked;
              else waiting.push(asked);
              break;
            }
            case "end":
              end(step.which);
              break;
            case "fail":
              one.flaky.fail(step.how);
              break;
            case "lose":
              await one.flaky.lose();
              break;
            case "restore":
              await one.flaky.restore(step.lateFirst);
              break;
          }
        }
        await one.flaky.restore(true);
        await Promise.all(waiting);
        // What was decided and not heard stays counted.
        for (const { script, reply } of one.flaky.lost) {
          if (script === "decide" && reply[1]! > 0) expected += COST;
        }
        while (running.length > 0) end(0);
        // Each asks behind what it has sent itself.
        await Promise.all([spent(one), spent(two)]);
        assertEquals([await spent(one), await spent(two)], [expected, expected]);
        for (let i = 0; i < AT_ONCE; i++) await ask(two, 0);
        assertEquals(running.length, AT_ONCE, "all permits are free");
      }),
      { seed: 20260727, numRuns: 150 },
    );
  },
);
