import { assert, assertEquals } from "@std/assert";
import type { Lease } from "../../../lib/core/cancellation.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { MemoryStore } from "../../../lib/limiter/memory_store.ts";
import type { RedisStoreOptions } from "../../../lib/limiter/redis_store_options.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import type { StoreConnection } from "../../../lib/redis/store_connection.ts";
import { type KeyedSource, sourceOf } from "../../support/shared_clock.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { RedisCluster } from "../../support/redis_cluster.ts";
import { RedisServer, redisTest, redisTestWith } from "../../support/redis_server.ts";
import { RedisTlsServer } from "../../support/redis_tls_server.ts";
import type { TestProxy } from "../../support/start_proxy.ts";
import { TcpRelay } from "../../support/tcp_relay.ts";
import { HeldRequests, only, untilGivenUp, untilStore } from "../../support/held_requests.ts";
import { storeOn, timedConnection } from "../../support/timed_store.ts";

const LIMIT = 4;

function limitedProxy(
  held: HeldRequests,
  url: string,
  more: Partial<LimiterPolicy> = {},
  store: Partial<Omit<RedisStoreOptions, "url">> = {},
): Promise<TestProxy> {
  return held.proxy({ key: "ip", limit: LIMIT, window: "10m", algorithm: "concurrency", ...more }, {
    url,
    ...store,
  });
}

redisTest("serve() loses no permit of requests that end while Redis stalls for 250 ms", async (redis) => {
  await using held = new HeldRequests();
  await using proxy = await limitedProxy(held, redis.url, {}, { timeout: "20ms" });
  assertEquals(await held.ask(proxy, LIMIT + 1), only(LIMIT));
  await redis.stall(250);
  await held.end();
  // With so short a wait, a request that is not decided about in time gives its permit back after the next one has asked.
  let outcomes: readonly unknown[] = [];
  for (let i = 0; i < 50 && outcomes.indexOf(429) !== LIMIT; i++) {
    outcomes = await held.ask(proxy, LIMIT + 1);
    await held.end();
  }
  assertEquals(outcomes, only(LIMIT));
});

/** Where Redis is, and what makes it hang and go on. */
interface Place extends AsyncDisposable {
  readonly url: string;
  readonly store?: Partial<RedisStoreOptions>;
  readonly server: RedisServer;
}

const PLACES: readonly [name: string, start: () => Promise<Place>][] = [
  ["Redis", async () => {
    const server = await RedisServer.start();
    return { url: server.url, server, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  }],
  ["Redis, behind TLS and for a user who may do little,", async () => {
    const tls = await RedisTlsServer.start();
    const rights = ["~{lbproxy}:*", "-@all", "+eval", "+evalsha", "+time", "+get", "+mget", "+set", "+del"];
    assertEquals(await tls.plain.command("ACL", "SETUSER", "proxy", "on", ">word", ...rights), "+OK\r\n");
    return {
      url: `rediss://proxy:word@127.0.0.1:${tls.tlsPort}`,
      store: { tls: { caCerts: [tls.caCert] } },
      server: tls.plain,
      [Symbol.asyncDispose]: () => tls[Symbol.asyncDispose](),
    };
  }],
  ["a server of a cluster", async () => {
    const cluster = await RedisCluster.start(2);
    const server = await cluster.ownerOf("{lbproxy}:check");
    return {
      url: cluster.nodes[0]!.url,
      server,
      [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
    };
  }],
];

for (const [name, start] of PLACES) {
  redisTestWith(start, `serve() loses no permit of requests that end while ${name} hangs`, async (place) => {
    await using held = new HeldRequests();
    await using proxy = await limitedProxy(held, place.url, {}, { timeout: "250ms", ...place.store });
    assertEquals(await held.ask(proxy, LIMIT), only(LIMIT).slice(0, -1));
    place.server.pause();
    await untilGivenUp(proxy);
    await held.end();
    place.server.resume();
    await untilStore(proxy, true, 2);
    assertEquals(await held.ask(proxy, LIMIT + 1), only(LIMIT));
    await held.end();
  });
}

redisTest("serve() loses no permit of requests that end while there is no connection", async (redis) => {
  await using held = new HeldRequests();
  await using relay = new TcpRelay(redis.port);
  await using proxy = await limitedProxy(held, `redis://127.0.0.1:${relay.port}`);
  assertEquals(await held.ask(proxy, LIMIT), only(LIMIT).slice(0, -1));
  await relay.down();
  await untilStore(proxy, false);
  await held.end();
  relay.up();
  await untilStore(proxy, true, 2);
  assertEquals(await held.ask(proxy, LIMIT + 1), only(LIMIT));
  await held.end();
});

redisTest("serve() gives permits back that Redis has granted and nobody heard of", async (redis) => {
  await using held = new HeldRequests();
  await using relay = new TcpRelay(redis.port);
  await using proxy = await limitedProxy(held, `redis://127.0.0.1:${relay.port}`, {}, { timeout: "250ms" });
  // So that scripts are known, and what follows is counted by Redis alone.
  assertEquals(await held.ask(proxy, 1), ["held"]);
  const before = await redis.calls("evalsha");
  relay.swallowReplies();
  await untilGivenUp(proxy);
  assert(await redis.calls("evalsha") > before, "granted");
  await relay.down();
  relay.up();
  await untilStore(proxy, true, 2);
  assertEquals(await held.ask(proxy, LIMIT), only(LIMIT - 1));
  await held.end();
});

redisTest("serve() tells a Redis that has lost everything which requests run", async (redis) => {
  await using held = new HeldRequests();
  await using proxy = await limitedProxy(held, redis.url);
  assertEquals(await held.ask(proxy, LIMIT - 1), Array(LIMIT - 1).fill("held"));
  await redis.kill();
  await untilStore(proxy, false);
  await redis.restart();
  await untilStore(proxy, true, 2);
  assertEquals(await held.ask(proxy, 2), only(1));
  // Without an end of the connection, it is the next request that notices.
  await redis.command("FLUSHALL");
  assertEquals(await held.ask(proxy, 1), [429]);
  await held.end();
  assertEquals(await held.ask(proxy, LIMIT + 1), only(LIMIT));
  await held.end();
});

redisTest(
  "serve() holds and gives back permits of a key that is too long to be stored as it is",
  async (redis) => {
    await using held = new HeldRequests();
    await using proxy = await limitedProxy(held, redis.url, { key: () => "x".repeat(5000) });
    assertEquals(await held.ask(proxy, LIMIT + 1), only(LIMIT));
    await held.end();
    assertEquals(await held.ask(proxy, LIMIT + 1), only(LIMIT));
    await held.end();
  },
);

/** An instance in time that a test moves, with a limiter of its own. */
class Instance implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly #connection: StoreConnection;
  readonly #limiter: RateLimiter<KeyedSource>;

  private constructor(connection: StoreConnection, clock: FakeClock) {
    this.clock = clock;
    this.#connection = connection;
    const random = seededRandom(1);
    const policies = resolvePolicies<KeyedSource>({
      key: (_, { key }) => key,
      limit: LIMIT,
      window: "1s",
      algorithm: "concurrency",
    });
    const store = storeOn(connection, policies, new MemoryStore(SharedTable.create({ clock, random })), {
      clock,
    });
    this.#limiter = new RateLimiter<KeyedSource>(policies, { clock, random, store });
  }

  static async start(url: string, nowUs: () => number): Promise<Instance> {
    const clock = new FakeClock();
    return new Instance(await timedConnection(url, nowUs, clock), clock);
  }

  /** Asks for so many permits; those that are granted. */
  async take(count: number, key = "a"): Promise<Lease[]> {
    const leases: Lease[] = [];
    for (let i = 0; i < count; i++) {
      const decision = await this.#limiter.decide(sourceOf(key));
      if (decision.kind === "allowed") leases.push(decision.lease!);
    }
    return leases;
  }

  /** Forgets a key, as an operator does. */
  reset(key: string): void {
    this.#limiter.reset(key);
  }

  /** Resolves when Redis has answered all that it was sent, with whether it counts. */
  async settles(): Promise<boolean> {
    const nothing = ["nothing", "1", "0", "f", "1", "1", "1", "0", "0"];
    return await this.#connection.link.run("decide", 1, nothing) !== null;
  }

  /** Resolves when Redis has done all that it was sent. */
  async settled(): Promise<void> {
    assert(await this.settles());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#limiter[Symbol.dispose]();
    await this.#connection[Symbol.asyncDispose]();
  }
}

/** Two of them on a Redis whose time is theirs. */
async function twoInstances(redis: RedisServer) {
  await using stack = new AsyncDisposableStack();
  let nowUs = 1_767_225_600_000_000;
  const one = stack.use(await Instance.start(redis.url, () => nowUs));
  const two = stack.use(await Instance.start(redis.url, () => nowUs));
  const owned = stack.move();
  return {
    one,
    two,
    /** Lets time pass for Redis, and for the instances that are not dead or stopped. */
    async pass(ms: number, alive: readonly Instance[]): Promise<void> {
      for (let left = ms; left > 0; left -= 1000) {
        nowUs += Math.min(1000, left) * 1000;
        for (const { clock } of alive) clock.tick(Math.min(1000, left));
        for (const instance of alive) await instance.settled();
      }
    },
    /** Sets the clock of Redis. */
    turn(ms: number): void {
      nowUs += ms * 1000;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

redisTest(
  "RedisStore frees the permits of an instance that has died, ten seconds after it was last heard of",
  async (redis) => {
    await using instances = await twoInstances(redis);
    const { one, two, pass } = instances;
    assertEquals((await one.take(LIMIT)).length, LIMIT);
    assertEquals((await two.take(1)).length, 0);
    await pass(9_000, [two]);
    assertEquals((await two.take(1)).length, 0);
    await pass(1_000, [two]);
    assertEquals((await two.take(LIMIT + 1)).length, LIMIT);
  },
);

redisTest("RedisStore keeps the permits of requests that take hours, whatever the window", async (redis) => {
  await using instances = await twoInstances(redis);
  const { one, two, pass } = instances;
  const held = await one.take(LIMIT);
  for (let i = 0; i < 6; i++) {
    await pass(600_000, [one, two]);
    assertEquals((await two.take(1)).length, 0);
  }
  held[0]!.release();
  await one.settled();
  assertEquals((await two.take(2)).length, 1);
});

redisTest(
  "RedisStore tells again what an instance holds that was stopped for longer than its lease",
  async (redis) => {
    await using instances = await twoInstances(redis);
    const { one, two, pass } = instances;
    const held = await one.take(LIMIT);
    const others = await one.take(LIMIT, "b");
    await pass(60_000, [two]);
    const taken = await two.take(LIMIT);
    assertEquals(taken.length, LIMIT, "free, as far as anybody can tell");
    // What ends first is not known any more; nor does it take what others hold now.
    held[0]!.release();
    assertEquals((await one.take(1)).length, 0, "twice the limit runs");
    for (const lease of taken) lease.release();
    await two.settled();
    assertEquals((await one.take(LIMIT)).length, 1);
    assertEquals((await two.take(1, "b")).length, 0, "of other keys as well");
    others[0]!.release();
    await one.settled();
    assertEquals((await two.take(2, "b")).length, 1);
  },
);

redisTest(
  "RedisStore frees the permits of the dead and keeps those of the living when the clock of Redis is set back",
  async (redis) => {
    await using instances = await twoInstances(redis);
    const { one, two, pass, turn } = instances;
    assertEquals((await one.take(2)).length, 2);
    assertEquals((await two.take(2)).length, 2);
    turn(-3_600_000);
    assertEquals((await two.take(1)).length, 0);
    await pass(13_000, [two]);
    assertEquals((await two.take(3)).length, 2, "those of the dead");
  },
);

redisTest("RedisStore tells again what is held when the clock of Redis is set on", async (redis) => {
  await using instances = await twoInstances(redis);
  const { one, two, pass, turn } = instances;
  assertEquals((await one.take(LIMIT)).length, LIMIT);
  turn(3_600_000);
  await pass(3_000, [one, two]);
  assertEquals((await two.take(1)).length, 0);
});

redisTest(
  "RedisStore forgets permits with their key, and takes none of later ones when theirs end",
  async (redis) => {
    await using instances = await twoInstances(redis);
    const { one, two } = instances;
    const held = await one.take(LIMIT);
    one.reset("a");
    await one.settled();
    assertEquals((await two.take(LIMIT - 1)).length, LIMIT - 1);
    const [last] = await one.take(2);
    for (const lease of held) lease.release();
    await one.settled();
    assertEquals((await two.take(1)).length, 0);
    last!.release();
    await one.settled();
    assertEquals((await two.take(2)).length, 1);
  },
);

redisTest("RedisStore frees all permits of an instance that ends, at once", async (redis) => {
  const nowUs = 1_767_225_600_000_000;
  await using one = await Instance.start(redis.url, () => nowUs);
  {
    await using two = await Instance.start(redis.url, () => nowUs);
    assertEquals((await two.take(LIMIT)).length, LIMIT);
    assertEquals((await one.take(1)).length, 0);
  }
  assertEquals((await one.take(LIMIT)).length, LIMIT);
});

redisTest("RedisStore tells again what is held when Redis has refused to hear of an end", async (redis) => {
  await using instances = await twoInstances(redis);
  const { one, two } = instances;
  const [first, second] = await one.take(2);
  await redis.command("CONFIG", "SET", "maxmemory", "1");
  first!.release();
  assertEquals(await one.settles(), false, "no memory is left");
  await redis.command("CONFIG", "SET", "maxmemory", "0");
  // Asked for in the session that ends, and granted before that.
  const taking = one.take(LIMIT + 1);
  one.clock.tick(3000);
  const taken = await taking;
  assertEquals(taken.length, LIMIT - 1);
  assertEquals((await two.take(1)).length, 0);
  for (const lease of [second!, ...taken]) lease.release();
  await one.settled();
  assertEquals((await two.take(LIMIT + 1)).length, LIMIT);
});

redisTest("RedisStore tells again of more keys than one command is for", async (redis) => {
  await using instances = await twoInstances(redis);
  const { one, two, pass } = instances;
  const keys = Array.from({ length: 450 }, (_, i) => `client${i}`);
  await Promise.all(keys.map((key) => one.take(LIMIT, key)));
  await redis.command("FLUSHALL");
  await pass(3_000, [one]);
  const taken = await Promise.all(keys.map((key) => two.take(1, key)));
  assertEquals(taken.filter((leases) => leases.length > 0), []);
});

redisTest("RedisStore keeps every key of permits in Redis for five minutes at most", async (redis) => {
  await using instances = await twoInstances(redis);
  const { one, pass } = instances;
  await one.take(1);
  const keys = (await redis.command("KEYS", "*")).match(/\{\w+\}\S*/g) ?? [];
  assertEquals(keys.length, 2);
  const ttl = async (key: string) => Number((await redis.command("PTTL", key)).slice(1));
  for (const key of keys) {
    assert(await ttl(key) > 0 && await ttl(key) <= 300_000, `${key}: ${await ttl(key)}`);
  }
  const counted = keys.find((key) => key.includes(":c:"))!;
  await redis.command("PEXPIRE", counted, "150000");
  await pass(100_000, [one]);
  assert(await ttl(counted) > 150_000, "for as long as it is held");
});
