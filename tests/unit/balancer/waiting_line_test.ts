import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Cancellation } from "../../../lib/core/cancellation.ts";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import {
  type Claim,
  type QueueOptions,
  type Refusal,
  resolveQueue,
} from "../../../lib/balancer/waiting_line.ts";
import { type CheckPacing, resolveHealthCheck } from "../../../lib/health/health_check_options.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import type { ServerSpec } from "../../../lib/upstream/peer.ts";
import { FakeClock } from "../../support/fake_clock.ts";

function balancerOf(
  clock: FakeClock,
  servers: readonly (string | ServerSpec)[],
  { maxInFlight = Infinity, ...queue }: QueueOptions & { maxInFlight?: number } = {},
): LoadBalancer {
  const pool = new Pool({ name: "test", servers });
  return new LoadBalancer({ pool, clock, queue: resolveQueue(queue), maxInFlight });
}

const ONE = [{ address: "10.0.0.1:80", maxInFlight: 1 }];

/** A claim that was granted at once. */
function granted(claim: Claim | Refusal | Promise<Claim | Refusal>): Claim {
  assert(!(claim instanceof Promise) && typeof claim !== "string", String(claim));
  return claim;
}

Deno.test("LoadBalancer.claim() counts the request in at once when there is room", () => {
  using balancer = balancerOf(new FakeClock(), ONE);
  const { server, lease } = granted(balancer.claim({}));
  assertEquals(server.inFlight, 1);
  lease.release();
  assertEquals(server.inFlight, 0);
});

Deno.test("LoadBalancer.claim() waits for room, first come first served", async () => {
  using balancer = balancerOf(new FakeClock(), ONE);
  let { lease } = granted(balancer.claim({}));
  const order: number[] = [];
  const waiters = [1, 2, 3].map(async (number) => {
    const claim = await balancer.claim({});
    order.push(number);
    return granted(claim);
  });
  assertEquals(balancer.waiting, 3);
  for (let i = 0; i < 3; i++) {
    lease.release();
    assertEquals(balancer.pool.inFlight, 1, "the place is taken before the next turn of the loop");
    ({ lease } = await waiters[i]!);
    assertEquals(order, [1, 2, 3].slice(0, i + 1));
  }
  lease.release();
});

Deno.test("LoadBalancer.claim() does not let a newcomer overtake those who wait", async () => {
  using balancer = balancerOf(new FakeClock(), ONE, { maxInFlight: 1 });
  const first = granted(balancer.claim({}));
  const second = balancer.claim({});
  balancer.pool.addServer("10.0.0.2:80");
  const third = balancer.claim({});
  first.lease.release();
  const { lease } = granted(await second);
  assertEquals(balancer.waiting, 1);
  lease.release();
  granted(await third).lease.release();
});

Deno.test("LoadBalancer.claim() refuses when the queue is full, and when there is none", () => {
  using balancer = balancerOf(new FakeClock(), ONE, { size: 1 });
  granted(balancer.claim({}));
  assert(balancer.claim({}) instanceof Promise);
  assertEquals(balancer.claim({}), "queue_full");
  using none = LoadBalancer.from(ONE);
  granted(none.claim({}));
  assertEquals(none.claim({}), "queue_full");
});

Deno.test("LoadBalancer.claim() refuses at once when no server may be used", () => {
  using balancer = balancerOf(new FakeClock(), ONE);
  const [server] = balancer.pool.servers;
  assertEquals(balancer.claim({ exclude: [server!] }), "none_eligible");
  server!.setHealth("down");
  assertEquals(balancer.claim({}), "none_eligible");
});

Deno.test("LoadBalancer.claim() gives up after the timeout, each at its own time, with one timer for all", async () => {
  const clock = new FakeClock();
  using balancer = balancerOf(clock, ONE, { timeout: "100ms" });
  const { lease } = granted(balancer.claim({}));
  const ends: string[] = [];
  for (const name of ["a", "b"]) {
    Promise.resolve(balancer.claim({})).then((result) =>
      ends.push(`${name} ${result} ${clock.now() - 1000}`)
    );
    await clock.advance(30);
  }
  assertEquals(clock.pending, 1);
  await clock.advance(200);
  assertEquals(ends, ["a queue_timeout 100", "b queue_timeout 130"]);
  assertEquals([clock.pending, balancer.waiting], [0, 0]);
  lease.release();
});

Deno.test("LoadBalancer.claim() leaves the queue when it is called off, and then costs no place", async () => {
  const clock = new FakeClock();
  using balancer = balancerOf(clock, ONE);
  const { lease } = granted(balancer.claim({}));
  const cancellation = new Cancellation();
  const first = balancer.claim({}, cancellation);
  const second = balancer.claim({});
  cancellation.cancel("gone");
  assertEquals(await first, "cancelled");
  lease.release();
  granted(await second).lease.release();
  assertEquals([clock.pending, balancer.pool.inFlight], [0, 0]);
});

Deno.test("LoadBalancer.claim() wakes up when a server is added, comes up, or none is left", async () => {
  using balancer = balancerOf(new FakeClock(), ONE);
  const { server } = granted(balancer.claim({}));
  const first = balancer.claim({});
  balancer.pool.addServer({ address: "10.0.0.2:80", maxInFlight: 1 });
  assertEquals(granted(await first).server.id, "10.0.0.2:80");
  const second = balancer.claim({});
  for (const each of balancer.pool.servers) each.setHealth("down");
  assertEquals(await second, "none_eligible");
  const third = balancer.claim({});
  assertEquals(third, "none_eligible");
  assertEquals(server.inFlight, 1);
});

Deno.test("LoadBalancer.claim() does not hold up a request for one that waits for a certain server", () => {
  using balancer = balancerOf(new FakeClock(), [
    { address: "10.0.0.1:80", maxInFlight: 2 },
    { address: "10.0.0.2:80", maxInFlight: 1 },
  ]);
  const [one, other] = balancer.pool.servers;
  granted(balancer.claim({ exclude: [one!] }));
  assert(balancer.claim({ exclude: [one!] }) instanceof Promise);
  assertEquals(granted(balancer.claim({})).server, one);
  assertEquals(other!.inFlight, 1);
});

Deno.test("LoadBalancer.claim() tries ejected servers in turn when there is no other, one request each", async () => {
  const clock = new FakeClock();
  using balancer = balancerOf(clock, ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]);
  const [one, two, three, four] = balancer.pool.servers;
  for (const server of [one!, two!]) {
    for (let i = 0; i < 5; i++) balancer.report(server, "failure", 0, "request");
  }
  assertEquals([one!.ejected, two!.ejected], [true, true]);
  const exclude = [three!, four!];
  const first = granted(balancer.claim({ exclude }));
  clock.tick(1);
  const second = granted(balancer.claim({ exclude }));
  assertEquals([first.server, second.server], [one, two]);
  const third = balancer.claim({ exclude });
  assert(third instanceof Promise, "they are busy");
  assertEquals(balancer.claim({ exclude: [one!, ...exclude, two!] }), "none_eligible");
  balancer.report(one!, "failure", 1, "request");
  first.lease.release();
  assertEquals([one!.ejected, granted(await third).server], [true, one], "it is out, and tried again");
  balancer.report(two!, "success", 0);
  assertEquals([two!.ejected, two!.halfOpen, two!.full], [false, false, false]);
  second.lease.release();
});

/** A balancer whose servers are up as long as `up` names them; checks are an hour apart. */
async function checkedBalancer(clock: FakeClock, addresses: readonly string[], pacing: CheckPacing = {}) {
  const up = new Set<string>();
  const checks: string[] = [];
  const balancer = new LoadBalancer({
    pool: new Pool({ name: "test", servers: addresses }),
    clock,
    healthCheck: resolveHealthCheck({ type: "tcp", interval: "1h", ...pacing }),
    probe: ({ id }, signal) => {
      checks.push(id);
      if (id.startsWith("hangs")) {
        return new Promise((_, reject) => signal.onabort = () => reject(signal.reason));
      }
      return up.has(id) ? Promise.resolve() : Promise.reject(new Error("refused"));
    },
  });
  const started = balancer.startHealthChecks();
  await clock.advance(1000);
  await started;
  checks.length = 0;
  return { balancer, up, checks };
}

Deno.test("LoadBalancer.claim() has servers checked that are down when there is no other, and waits for that", async () => {
  const clock = new FakeClock();
  const { balancer, up, checks } = await checkedBalancer(clock, ["10.0.0.1:80", "10.0.0.2:80"]);
  using _balancer = balancer;
  const refused = await balancer.claim({});
  assertEquals([refused, checks.splice(0)], ["none_eligible", ["10.0.0.1:80", "10.0.0.2:80"]]);
  up.add("10.0.0.2:80");
  assertEquals(balancer.claim({}), "none_eligible", "it has been looked just now");
  await clock.advance(50);
  const [first, second] = [balancer.claim({}), balancer.claim({})];
  assertEquals(granted(await first).server.id, "10.0.0.2:80");
  assertEquals(granted(await second).server.id, "10.0.0.2:80");
  assertEquals(checks, ["10.0.0.1:80", "10.0.0.2:80"]);
  const [, two] = balancer.pool.servers;
  await clock.advance(50);
  assertEquals(await balancer.claim({ exclude: [two!] }), "none_eligible");
});

Deno.test("LoadBalancer.claim() does not wait long for a check that hangs, nor for one that has for long", async () => {
  const clock = new FakeClock();
  const { balancer, checks } = await checkedBalancer(clock, ["hangs:1"], { timeout: "1s" });
  using _balancer = balancer;
  let result: unknown = null;
  Promise.resolve(balancer.claim({})).then((late) => result = late);
  await clock.advance(99);
  assertEquals([result, balancer.waiting], [null, 1]);
  await clock.advance(1);
  assertEquals([result, balancer.waiting], ["none_eligible", 0]);
  await clock.advance(100);
  assertEquals(balancer.claim({}), "none_eligible");
  assertEquals(checks.length, 1);
});

Deno.test("LoadBalancer.claim() has only servers checked that the operator allows, 16 at once", async () => {
  const clock = new FakeClock();
  const addresses = Array.from({ length: 40 }, (_, i) => `10.0.0.${i}:80`);
  const { balancer, checks } = await checkedBalancer(clock, addresses);
  using _balancer = balancer;
  for (let i = 0; i < 10; i++) balancer.pool.setEnabled(`10.0.0.${i}:80`, false);
  await balancer.claim({});
  assertEquals(checks.splice(0), addresses.slice(10, 26));
  await clock.advance(50);
  await balancer.claim({});
  assertEquals(checks.splice(0), addresses.slice(26).concat(addresses.slice(10, 12)));
});

Deno.test("LoadBalancer.claim() sends nobody to a server that was added and not checked", async () => {
  for (const initial of ["checking", "down"] as const) {
    for (const change of ["addServer", "replaceServers"] as const) {
      const clock = new FakeClock();
      const pool = new Pool({ name: "test", servers: ONE });
      using balancer = new LoadBalancer({
        pool,
        clock,
        queue: resolveQueue({}),
        healthCheck: resolveHealthCheck({ type: "tcp", initial, timeout: "10s" }),
        probe: ({ id }) => id === ONE[0]!.address ? Promise.resolve() : new Promise(() => {}),
      });
      await balancer.startHealthChecks();
      const { lease } = granted(balancer.claim({}));
      const waiting = balancer.claim({});
      if (change === "addServer") pool.addServer("10.0.0.2:80");
      else pool.replaceServers([...ONE, "10.0.0.2:80"]);
      await clock.advance(0);
      assertEquals([balancer.waiting, pool.server("10.0.0.2:80")!.inFlight], [1, 0], `${initial} ${change}`);
      lease.release();
      assertEquals(granted(await waiting).server.id, ONE[0]!.address);
    }
  }
});

Deno.test("LoadBalancer[Symbol.dispose]() sends nobody to a server that was never checked", async () => {
  const pool = new Pool({ name: "test", servers: ONE });
  const balancer = new LoadBalancer({
    pool,
    clock: new FakeClock(),
    healthCheck: resolveHealthCheck({ type: "tcp" }),
    probe: () => new Promise(() => {}),
  });
  balancer.startHealthChecks();
  const waiting = balancer.claim({});
  assert(waiting instanceof Promise);
  balancer[Symbol.dispose]();
  assertEquals(await waiting, "none_eligible");
});

Deno.test("LoadBalancer.claim() keeps the pool within its own limit", async () => {
  using balancer = balancerOf(new FakeClock(), ["10.0.0.1:80", "10.0.0.2:80"], { maxInFlight: 3 });
  const claims = [1, 2, 3].map(() => granted(balancer.claim({})));
  const waiting = balancer.claim({});
  assert(waiting instanceof Promise);
  assertEquals(balancer.pool.inFlight, 3);
  claims[0]!.lease.release();
  granted(await waiting);
  assertEquals(balancer.pool.inFlight, 3);
});

Deno.test("LoadBalancer.claim() passes over one that waits for a certain server", async () => {
  using balancer = balancerOf(new FakeClock(), [...ONE, { address: "10.0.0.2:80", maxInFlight: 1 }]);
  const [one, other] = [granted(balancer.claim({})), granted(balancer.claim({}))];
  const choosy = balancer.claim({ exclude: [one.server] });
  const easy = balancer.claim({});
  one.lease.release();
  assertEquals(granted(await easy).server, one.server);
  other.lease.release();
  assertEquals(granted(await choosy).server, other.server);
});

Deno.test("LoadBalancer[Symbol.dispose]() sends those away who wait", async () => {
  const clock = new FakeClock();
  const balancer = balancerOf(clock, ONE);
  granted(balancer.claim({}));
  const waiting = balancer.claim({});
  balancer[Symbol.dispose]();
  assertEquals(await waiting, "none_eligible");
  assertEquals(clock.pending, 0);
});

Deno.test("LoadBalancer.claim() returns every lease after any mix of success, refusal and cancel", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(9), { maxLength: 60 }), async (steps) => {
      const clock = new FakeClock();
      using balancer = balancerOf(clock, [...ONE, { address: "10.0.0.2:80", maxInFlight: 2 }], {
        size: 4,
        timeout: "50ms",
      });
      const held: Claim[] = [];
      const open: Cancellation[] = [];
      const answers: Promise<void>[] = [];
      for (const step of steps) {
        if (step < 5) {
          const cancellation = new Cancellation();
          open.push(cancellation);
          const answer = Promise.resolve(balancer.claim({}, cancellation));
          answers.push(answer.then((claim) => void (typeof claim !== "string" && held.push(claim))));
        } else if (step < 7) held.shift()?.lease.release();
        else if (step === 7) open.shift()?.cancel("gone");
        else await clock.advance(20);
        await null;
        assert(balancer.pool.servers.every((server) => server.inFlight <= server.maxInFlight));
      }
      while (balancer.waiting > 0 || held.length > 0) {
        for (const { lease } of held.splice(0)) lease.release();
        await clock.advance(50);
      }
      await Promise.all(answers);
      for (const { lease } of held) lease.release();
      assertEquals([balancer.pool.inFlight, clock.pending], [0, 0]);
    }),
    { seed: 77, numRuns: 100 },
  );
});

Deno.test("LoadBalancer.claim() does not wait for a balance function that chooses none, nor do other requests", () => {
  using balancer = LoadBalancer.from(["127.0.0.1:1"], {
    balance: ([server], source) => source === "none" ? undefined : server,
    queue: {},
  });
  assertEquals(balancer.claim({ source: "none" }), "none_eligible");
  const { lease } = granted(balancer.claim({ source: "some" }));
  lease.release();
});
