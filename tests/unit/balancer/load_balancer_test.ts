import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { keepAlive } from "../../support/keep_alive.ts";

const ADDRESSES = ["10.0.0.1:80", "10.0.0.2:80"];

Deno.test("LoadBalancer.from() takes turns between the servers", () => {
  using balancer = LoadBalancer.from(ADDRESSES);
  const ids = Array.from({ length: 4 }, () => balancer.select()!.id);
  assertEquals(ids, [...ADDRESSES, ...ADDRESSES]);
});

Deno.test("LoadBalancer.from() refuses what is no address and what is there twice", () => {
  assertThrows(() => LoadBalancer.from(["nowhere"]), TypeError, 'received "nowhere"');
  assertThrows(() => LoadBalancer.from(["10.0.0.1:80", "10.0.0.1:80"]), TypeError, "is a member already");
});

Deno.test("LoadBalancer.select() gives nothing when all are down, and none when there are none", () => {
  using balancer = LoadBalancer.from(ADDRESSES);
  for (const server of balancer.pool.servers) server.setHealth("down");
  assertEquals(balancer.select(), undefined);
  using empty = LoadBalancer.from([]);
  assertEquals(empty.select("key", 256), undefined);
});

Deno.test("LoadBalancer.select() passes over as many full servers as it is allowed to", () => {
  using balancer = LoadBalancer.from([
    { address: "10.0.0.1:80", maxInFlight: 0 },
    { address: "10.0.0.2:80", maxInFlight: 0 },
    { address: "10.0.0.3:80" },
  ]);
  assertEquals(balancer.select("", 0), undefined);
  assertEquals(balancer.select("", 256)?.id, "10.0.0.3:80");
});

Deno.test("LoadBalancer.pick() takes a backup only when no other server will do", () => {
  using balancer = LoadBalancer.from([...ADDRESSES, { address: "10.0.0.9:80", backup: true }]);
  const [first, second, backup] = balancer.pool.servers;
  const choices = (exclude: typeof first[] = []) => {
    return new Set(Array.from({ length: 6 }, () => balancer.pick({ exclude: exclude as [] })?.id));
  };
  assertEquals(choices(), new Set(ADDRESSES));
  assertEquals(choices([first, second]), new Set([backup!.id]));
  first!.setHealth("down");
  assertEquals(choices(), new Set([second!.id]));
  second!.setEjected(true);
  assertEquals(choices(), new Set([backup!.id]));
  backup!.setHealth("down");
  assertEquals(choices(), new Set([undefined]));
});

Deno.test("LoadBalancer.pick() sends nothing to weight 0, and all again when it has weight", () => {
  using balancer = LoadBalancer.from([{ address: "10.0.0.1:80", weight: 0 }, "10.0.0.2:80"]);
  assertEquals(new Set([1, 2, 3].map(() => balancer.pick({})!.id)), new Set(["10.0.0.2:80"]));
  balancer.pool.setWeight("10.0.0.1:80", 1);
  balancer.pool.setWeight("10.0.0.2:80", 0);
  assertEquals(new Set([1, 2, 3].map(() => balancer.pick({})!.id)), new Set(["10.0.0.1:80"]));
});

Deno.test("LoadBalancer.pick() follows every change, and never gives a server that may not be used", () => {
  const step = fc.record({
    what: fc.constantFrom(
      "down",
      "up",
      "disable",
      "enable",
      "drain",
      "resume",
      "eject",
      "restore",
      "weight",
      "remove",
      "add",
      "lease",
    ),
    which: fc.nat(5),
    weight: fc.integer({ min: 0, max: 9 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      using balancer = LoadBalancer.from([...ADDRESSES, {
        address: "10.0.0.3:80",
        backup: true,
        maxInFlight: 2,
      }]);
      const { pool } = balancer;
      let added = 0;
      for (const { what, which, weight } of steps) {
        if (what === "add") pool.addServer({ address: `10.1.0.${added++}:80`, weight, maxInFlight: 1 });
        const server = pool.servers[which % Math.max(1, pool.servers.length)];
        if (server === undefined) continue;
        if (what === "down" || what === "up") server.setHealth(what);
        if (what === "disable" || what === "enable") pool.setEnabled(server, what === "enable");
        if (what === "drain" || what === "resume") pool.setDraining(server, what === "drain");
        if (what === "eject" || what === "restore") server.setEjected(what === "eject");
        if (what === "weight") pool.setWeight(server, weight);
        if (what === "remove") pool.removeServer(server);
        if (what === "lease") server.acquire();
        const useful = pool.servers.filter((server) => server.eligible && server.weight > 0);
        const chosen = balancer.pick({});
        assertEquals(chosen === undefined, useful.length === 0);
        if (chosen === undefined) continue;
        assert(useful.includes(chosen), `${chosen.id} is ${chosen.ineligibility}`);
        if (chosen.backup) assert(useful.every((server) => server.backup));
      }
    }),
    { seed: 8, numRuns: 300 },
  );
});

Deno.test("LoadBalancer.report() counts failures in a row, and ignores what says nothing", () => {
  using balancer = LoadBalancer.from(ADDRESSES);
  const server = balancer.select()!;
  for (const outcome of ["failure", "failure", "ignored", "failure"] as const) {
    balancer.report(server, outcome, 1);
  }
  assertEquals([server.requests, server.failures, server.consecutiveFailures], [4, 3, 3]);
  balancer.report(server, "success", 1);
  assertEquals([server.requests, server.failures, server.consecutiveFailures], [5, 3, 0]);
});

Deno.test("LoadBalancer.startHealthChecks() knows who is up before it is done", async () => {
  using _alive = keepAlive();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [up, down] = [listener.addr.port, closed.addr.port].map((port) => `127.0.0.1:${port}`);
  closed.close();
  const flips: unknown[] = [];
  await using balancer = LoadBalancer.from([up!, down!], {
    healthCheck: { type: "tcp", interval: "1h" },
    onHealthChange: (server, healthy, reason) => flips.push([server.id, healthy, reason !== ""]),
  });
  assertEquals(balancer.pool.servers.map((server) => server.eligible), [true, true]);
  await balancer.startHealthChecks();
  assertEquals(balancer.pool.servers.map((server) => server.eligible), [true, false]);
  assertEquals(flips, [[down, false, true]]);
  assertEquals(new Set([1, 2, 3].map(() => balancer.select()!.id)), new Set([up]));
});

Deno.test("LoadBalancer.startHealthChecks() without checks is done at once", async () => {
  using balancer = LoadBalancer.from(ADDRESSES);
  await balancer.startHealthChecks();
  assert(balancer.select() !== undefined);
});

Deno.test("LoadBalancer sends everything to the other server while one is gone, and shares when it is back", async () => {
  using _alive = keepAlive();
  const first = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using second = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const ports = [first.addr.port, second.addr.port];
  let flipped = Promise.withResolvers<void>();
  await using balancer = LoadBalancer.from(ports.map((port) => `127.0.0.1:${port}`), {
    healthCheck: { type: "tcp", interval: "10ms" },
    onHealthChange: () => flipped.resolve(),
  });
  await balancer.startHealthChecks();
  const shares = () => {
    const counts = [0, 0];
    for (let i = 0; i < 10; i++) counts[balancer.pool.servers.indexOf(balancer.select()!)]!++;
    return counts;
  };
  assertEquals(shares(), [5, 5]);
  first.close();
  await flipped.promise;
  assertEquals(shares(), [0, 10]);
  flipped = Promise.withResolvers();
  using _again = Deno.listen({ hostname: "127.0.0.1", port: ports[0]! });
  await flipped.promise;
  assertEquals(shares(), [5, 5]);
});
