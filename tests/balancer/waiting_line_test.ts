import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Cancellation } from "../../lib/core/cancellation.ts";
import { LoadBalancer } from "../../lib/balancer/load_balancer.ts";
import {
  type Claim,
  type QueueOptions,
  type Refusal,
  resolveQueue,
} from "../../lib/balancer/waiting_line.ts";
import { Pool, type ServerLike } from "../../lib/upstream/pool.ts";
import { FakeClock } from "../support/fake_clock.ts";

function balancerOf(
  clock: FakeClock,
  servers: readonly ServerLike[],
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
