import { assert, assertEquals } from "@std/assert";
import type { Decision } from "../../../lib/limiter/policy.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import type { AlgorithmName, LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { type RedisServer, redisTest } from "../../support/redis_server.ts";
import { HeldRequests, only, untilStore } from "../../support/held_requests.ts";
import { TcpRelay } from "../../support/tcp_relay.ts";
import { FlakyInstance } from "./flaky_connection.ts";

const LIMIT = 1_000_000;

/** A request, and what it comes to. */
interface Source extends KeySource {
  readonly cost: number;
  readonly amount: number;
}

function sourceOf(cost: number, amount = cost): Source {
  const request = new Request("http://a.example/");
  return { request, clientIp: "192.0.2.1", target: "/", host: "a.example", cost, amount };
}

function start(
  redis: RedisServer,
  clock: FakeClock,
  more: Partial<LimiterPolicy<Source>> = {},
): Promise<FlakyInstance<Source>> {
  const policy: LimiterPolicy<Source> = {
    key: "ip",
    limit: LIMIT,
    window: "1h",
    cost: ({ cost }) => cost,
    charge: ({ amount }) => amount,
    ...more,
  };
  return FlakyInstance.start({ url: redis.url, prefix: "corrections", policies: [policy], clock });
}

/** Asks for a request; `end` says that it is over. */
async function ask({ limiter }: FlakyInstance<Source>, source: Source): Promise<{ end: () => void }> {
  const decision: Decision = await limiter.decide(source);
  assert(decision.kind === "allowed", JSON.stringify(decision));
  return { end: () => limiter.settle(decision, source) };
}

/** What is counted; asks Redis, behind all that was sent. */
async function counted({ limiter }: FlakyInstance<Source>): Promise<number> {
  const decision = await limiter.decide(sourceOf(0));
  assert(decision.kind === "allowed", JSON.stringify(decision));
  return LIMIT - decision.remaining;
}

/** What four requests come to that end while Redis is away (parts count in full), and how many more fit the limit of 6. */
const CHARGES: readonly [amount: number, more: number][] = [[0, 6], [1, 2], [1.25, 0], [3, 0]];

for (const [amount, more] of CHARGES) {
  redisTest(
    `serve() counts what requests came to that end while Redis is away: ${amount} each`,
    async (redis) => {
      await using held = new HeldRequests();
      await using relay = new TcpRelay(redis.port);
      const policy: LimiterPolicy = { key: "ip", limit: 6, window: "10m", charge: () => amount };
      await using proxy = await held.proxy(policy, { url: `redis://127.0.0.1:${relay.port}` });
      assertEquals(await held.ask(proxy, 4), ["held", "held", "held", "held"]);
      await relay.down();
      await untilStore(proxy, false);
      await held.end();
      relay.up();
      await untilStore(proxy, true, 2);
      assertEquals(await held.ask(proxy, more + 1), only(more));
      await held.end();
    },
  );
}

for (
  const algorithm of ["fixed-window", "sliding-window", "token-bucket"] as const satisfies AlgorithmName[]
) {
  redisTest(`RedisStore corrects what it could not while Redis was away: ${algorithm}`, async (redis) => {
    await using instance = await start(redis, new FakeClock(), { algorithm });
    const less = await ask(instance, sourceOf(100, 1));
    const more = await ask(instance, sourceOf(1, 2000));
    await instance.flaky.lose();
    less.end();
    more.end();
    await instance.flaky.restore(true);
    // A bucket fills a little meanwhile.
    const difference = 2001 - await counted(instance);
    assert(difference >= 0 && difference < (algorithm === "token-bucket" ? 2000 : 1), String(difference));
  });
}

redisTest("RedisStore forgets a key that it could not while Redis was away", async (redis) => {
  await using instance = await start(redis, new FakeClock());
  await ask(instance, sourceOf(100));
  await instance.flaky.lose();
  instance.limiter.reset("192.0.2.1");
  await instance.flaky.restore(true);
  assertEquals(await counted(instance), 0);
});

redisTest("RedisStore corrects once what Redis has done and could not say", async (redis) => {
  await using instance = await start(redis, new FakeClock());
  const requests = [];
  for (const amount of [0, 3, 2000]) requests.push(await ask(instance, sourceOf(10, amount)));
  instance.flaky.fail("reply lost");
  for (const { end } of requests) end();
  await instance.flaky.restore(true);
  assertEquals(await counted(instance), 2003);
  const before = await redis.calls("evalsha") + await redis.calls("eval");
  await instance.flaky.restore(true);
  assertEquals(await redis.calls("evalsha") + await redis.calls("eval"), before, "none is kept");
});

redisTest("RedisStore corrects again what Redis has refused", async (redis) => {
  const clock = new FakeClock();
  await using instance = await start(redis, clock);
  const first = await ask(instance, sourceOf(100, 1));
  const second = await ask(instance, sourceOf(100, 2));
  await redis.command("CONFIG", "SET", "maxmemory", "1");
  first.end();
  // Behind it, and refused as well: then the answer to the first one has come.
  assertEquals((await instance.limiter.decide(sourceOf(1))).kind, "limited");
  await redis.command("CONFIG", "SET", "maxmemory", "0");
  second.end();
  assertEquals(await counted(instance), 102);
  clock.tick(1000);
  assertEquals(await counted(instance), 3);
});

redisTest("RedisStore keeps no correction that would change nothing any more", async (redis) => {
  const clock = new FakeClock();
  await using instance = await start(redis, clock, { window: "1s" });
  const old = await ask(instance, sourceOf(1, 100));
  await instance.flaky.lose();
  old.end();
  clock.tick(1000);
  const before = await redis.calls("evalsha") + await redis.calls("eval");
  await instance.flaky.restore(true);
  assertEquals(await redis.calls("evalsha") + await redis.calls("eval"), before);
});

redisTest(
  "RedisStore keeps 10,000 corrections while Redis is away, and says how many were more",
  async (redis) => {
    await using instance = await start(redis, new FakeClock());
    const requests: { end: () => void }[] = [];
    // Not all at once, or those at the end come too late on a slow machine.
    while (requests.length < 10_025) {
      requests.push(...await Promise.all(Array.from({ length: 401 }, () => ask(instance, sourceOf(1, 0)))));
    }
    await instance.flaky.lose();
    for (const { end } of requests) end();
    await instance.flaky.restore(true);
    assertEquals([await counted(instance), instance.dropped], [25, 25]);
    await instance.flaky.restore(true);
    assertEquals(instance.dropped, 25, "told of once");
  },
);
