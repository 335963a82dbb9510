import { assert, assertEquals } from "@std/assert";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import type { Server } from "../../../lib/upstream/server.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const KEYS = Array.from({ length: 1000 }, (_, i) => `/item/${i}`);

function balancerOf(count: number, clock: FakeClock, loadFactor = Infinity): LoadBalancer {
  const servers = Array.from({ length: count }, (_, i) => `10.0.0.${i + 1}:80`);
  const pool = new Pool({ name: "test", servers });
  return new LoadBalancer({ pool, balance: "consistent-hash", clock, loadFactor });
}

function owners(balancer: LoadBalancer): (string | undefined)[] {
  return KEYS.map((key) => balancer.select(key)?.id);
}

Deno.test("ConsistentHash.pick() gives a key the same server each time", () => {
  using balancer = balancerOf(5, new FakeClock());
  const first = owners(balancer);
  assertEquals(owners(balancer), first);
  assertEquals(new Set(first).size, 5);
  assertEquals(balancer.select(new TextEncoder().encode(KEYS[0]!))?.id, first[0]);
});

Deno.test("ConsistentHash.pick() moves only the keys of a server that is down, and moves them back", () => {
  using balancer = balancerOf(5, new FakeClock());
  const before = owners(balancer);
  const down = balancer.pool.servers[2]!;
  down.setHealth("down");
  const during = owners(balancer);
  const homeless = KEYS.map((_, i) => i).filter((i) => before[i] === down.id);
  assert(homeless.length > 100);
  assertEquals(new Set(homeless.map((i) => during[i])).size, 4, "they are spread over all others");
  before.forEach((id, i) => assertEquals(during[i] === id, id !== down.id));
  down.setHealth("up");
  assertEquals(owners(balancer), before);
});

Deno.test("ConsistentHash.pick() puts a new server on the ring a moment later, and moves its share only", async () => {
  const clock = new FakeClock();
  using balancer = balancerOf(5, clock);
  const before = owners(balancer);
  const added = balancer.pool.addServer("10.0.0.9:80");
  assertEquals(owners(balancer), before, "a request does not wait for the ring");
  await clock.advance(0);
  const after = owners(balancer);
  const moved = after.filter((id, i) => id !== before[i]);
  assert(moved.length > 80 && moved.length < 300, String(moved.length));
  assertEquals(new Set(moved), new Set([added.id]));
});

Deno.test("ConsistentHash.pick() never gives a removed server, and finds its way when all are replaced", async () => {
  const clock = new FakeClock();
  using balancer = balancerOf(3, clock);
  const before = owners(balancer);
  await balancer.pool.removeServer("10.0.0.1:80");
  assert(!owners(balancer).includes("10.0.0.1:80"));
  await clock.advance(0);
  const after = owners(balancer);
  before.forEach((id, i) => assert(id === "10.0.0.1:80" || after[i] === id));
  balancer.pool.replaceServers(["10.1.0.1:80", "10.1.0.2:80"]);
  assertEquals(new Set(owners(balancer)), new Set(["10.1.0.1:80", "10.1.0.2:80"]));
  assertEquals(clock.pending, 1, "the ring is made anew once");
  await clock.advance(0);
  assertEquals(clock.pending, 0);
});

Deno.test("ConsistentHash.pick() sends a key to the next server when its own was tried", () => {
  using balancer = balancerOf(4, new FakeClock());
  for (const key of KEYS.slice(0, 50)) {
    const tried: Server[] = [];
    for (let i = 0; i < 4; i++) {
      const server = balancer.pick({ key, exclude: tried.slice() });
      assert(server !== undefined && !tried.includes(server));
      tried.push(server);
    }
    assertEquals(balancer.pick({ key, exclude: tried }), undefined);
  }
});

Deno.test("ConsistentHash.pick() keeps every server within its bound of the load", () => {
  using balancer = balancerOf(5, new FakeClock(), 1.25);
  // One key that everybody asks for would bring down its server.
  for (let i = 1; i <= 200; i++) {
    const server = balancer.select("hot")!;
    server.acquire();
    assert(server.inFlight <= Math.ceil(1.25 * i / 5), `${server.inFlight} of ${i}`);
  }
  assertEquals(balancer.pool.inFlight, 200);
});

Deno.test("ConsistentHash.pick() goes beyond the bound rather than nowhere", () => {
  using balancer = balancerOf(2, new FakeClock(), 1.1);
  const [one, other] = balancer.pool.servers;
  for (let i = 0; i < 100; i++) one!.acquire();
  assertEquals(balancer.pick({ key: "a", exclude: [other!] }), one);
});

Deno.test("ConsistentHash.pick() without a key takes turns", () => {
  using balancer = balancerOf(3, new FakeClock());
  const ids = Array.from({ length: 6 }, () => balancer.select()!.id);
  assertEquals(ids, [
    "10.0.0.1:80",
    "10.0.0.2:80",
    "10.0.0.3:80",
    "10.0.0.1:80",
    "10.0.0.2:80",
    "10.0.0.3:80",
  ]);
});

Deno.test("LoadBalancer[Symbol.dispose]() calls off a ring that is waited for", async () => {
  const clock = new FakeClock();
  const balancer = balancerOf(3, clock);
  owners(balancer);
  balancer.pool.addServer("10.0.0.9:80");
  owners(balancer);
  assertEquals(clock.pending, 1);
  balancer[Symbol.dispose]();
  assertEquals(clock.pending, 0);
  await clock.advance(0);
});

Deno.test("ConsistentHash.prepare() builds the ring before the first request, for members that came before it", () => {
  const time = new FakeClock();
  const pool = new Pool({ name: "test", servers: [] });
  using balancer = new LoadBalancer({ pool, balance: "consistent-hash", clock: time });
  assertEquals(balancer.select("a"), undefined);
  pool.replaceServers(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
  balancer.prepare();
  assertEquals(time.pending, 0, "nothing is left to be built");
  using other = LoadBalancer.from(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], {
    balance: "consistent-hash",
  });
  for (let i = 0; i < 50; i++) assertEquals(balancer.select(`${i}`)!.id, other.select(`${i}`)!.id);
});
