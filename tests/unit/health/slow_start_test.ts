import { assert, assertEquals, assertThrows } from "@std/assert";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { resolveHealthCheck } from "../../../lib/health/health_check_options.ts";
import { resolveSlowStart, type SlowStartOptions } from "../../../lib/health/slow_start.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import { FakeClock } from "../../support/fake_clock.ts";

function balancerOf(clock: FakeClock): LoadBalancer {
  const pool = new Pool({ name: "test", servers: ["10.0.0.1:80", "10.0.0.2:80"] });
  return new LoadBalancer({ pool, clock, slowStart: resolveSlowStart({ duration: "20s" }) });
}

function share(balancer: LoadBalancer, id: string): number {
  let count = 0;
  for (let i = 0; i < 1000; i++) if (balancer.pick({})!.id === id) count++;
  return count / 1000;
}

Deno.test("SlowStart gives servers that are there from the beginning their full share", () => {
  const clock = new FakeClock();
  using balancer = balancerOf(clock);
  assertEquals(balancer.pool.servers.map((server) => server.effectiveWeight), [1, 1]);
  assertEquals(clock.pending, 0);
});

Deno.test("SlowStart lets the share of an added server grow from the floor to all of it", async () => {
  const clock = new FakeClock();
  using balancer = balancerOf(clock);
  const server = balancer.pool.addServer({ address: "10.0.0.3:80", weight: 2 });
  const weights = [server.effectiveWeight];
  const first = share(balancer, server.id);
  assert(Math.abs(first - 0.2 / 2.2) < 0.01, String(first));
  for (let i = 0; i < 20; i++) {
    await clock.advance(1000);
    weights.push(server.effectiveWeight);
  }
  assertEquals(weights[0], 0.2);
  assertEquals([weights[10], weights[20]], [1, 2]);
  assertEquals(weights.toSorted((a, b) => a - b), weights);
  assertEquals(clock.pending, 0, "no timer is left when all have their share");
  assertEquals(share(balancer, server.id), 0.5);
});

Deno.test("SlowStart starts anew when a server recovers", async () => {
  const clock = new FakeClock();
  let up = true;
  const pool = new Pool({ name: "test", servers: ["10.0.0.1:80", "10.0.0.2:80"] });
  using balancer = new LoadBalancer({
    pool,
    clock,
    healthCheck: resolveHealthCheck({ type: "tcp", jitter: 0 }),
    probe: (server) =>
      up || server.id === "10.0.0.1:80" ? Promise.resolve() : Promise.reject(new Error("down")),
    slowStart: resolveSlowStart({ duration: "20s", floor: 0.05 }),
  });
  await balancer.startHealthChecks();
  const server = pool.server("10.0.0.2:80")!;
  assertEquals([server.eligible, server.effectiveWeight], [true, 1], "not at boot");
  up = false;
  await clock.advance(1000);
  up = true;
  await clock.advance(1000);
  assertEquals([server.eligible, server.effectiveWeight], [true, 0.05]);
  await clock.advance(20_000);
  assertEquals(server.effectiveWeight, 1);
});

Deno.test("SlowStart starts a server slowly that has got a response again after its ejection", async () => {
  const clock = new FakeClock();
  using balancer = balancerOf(clock);
  const [server] = balancer.pool.servers;
  for (let i = 0; i < 5; i++) balancer.report(server!, "failure", 1);
  await clock.advance(90_000);
  assertEquals([server!.halfOpen, server!.effectiveWeight], [true, 1]);
  balancer.report(server!, "success", 1);
  assertEquals([server!.halfOpen, server!.effectiveWeight], [false, 0.1]);
});

Deno.test("SlowStart[Symbol.dispose]() and the leaving of servers leave no timer behind", async () => {
  const clock = new FakeClock();
  const balancer = balancerOf(clock);
  await balancer.pool.removeServer(balancer.pool.addServer("10.0.0.3:80"));
  await clock.advance(1000);
  assertEquals(clock.pending, 0);
  balancer.pool.addServer("10.0.0.4:80");
  balancer[Symbol.dispose]();
  assertEquals(clock.pending, 0);
});

Deno.test("LoadBalancer.from() refuses a slow start that is none", () => {
  const from = (slowStart: SlowStartOptions) => () => LoadBalancer.from(["10.0.0.1:80"], { slowStart });
  for (const duration of [0, "0s", "x"]) {
    assertThrows(from({ duration }), TypeError, '"slowStart.duration" must be');
  }
  for (const floor of [0, -1, 1.1, NaN]) {
    assertThrows(from({ duration: "1s", floor }), TypeError, '"slowStart.floor" must be a number above 0');
  }
});
