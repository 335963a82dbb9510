import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { StrayErrors, StrayRejections } from "../../support/stray_errors.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import type { Server } from "../../../lib/upstream/server.ts";

function ids(servers: readonly Server[]): string[] {
  return servers.map((server) => server.id);
}

/** Writes down what a pool tells its listeners. */
function watch(pool: Pool): string[] {
  const seen: string[] = [];
  pool.subscribe({
    onAdded: (server) => seen.push(`added ${server.id}`),
    onLeaving: (server) => seen.push(`leaving ${server.id}`),
    onRemoved: (server) => seen.push(`removed ${server.id}`),
  });
  return seen;
}

Deno.test("Pool.addServer() makes a member that is seen by listeners", () => {
  using pool = new Pool({ name: "api", servers: ["10.0.0.1:80"] });
  const seen = watch(pool);
  const { version, membership } = pool;
  const server = pool.addServer({ address: "10.0.0.2:80", weight: 3, tags: ["blue"] });
  assertEquals(ids(pool.servers), ["10.0.0.1:80", "10.0.0.2:80"]);
  assertStrictEquals(pool.server("10.0.0.2:80"), server);
  assertEquals([server.weight, server.tags], [3, ["blue"]]);
  assertEquals(seen, ["added 10.0.0.2:80"]);
  assert(pool.version > version && pool.membership > membership);
});

Deno.test("Pool.addServer() refuses what is no address, wants TLS, or is a member already", () => {
  using pool = new Pool({ name: "api", servers: ["10.0.0.1:80"] });
  const cases: [string, string][] = [
    ["nowhere", 'Cannot add server: the address must be "host:port", received "nowhere"'],
    ["https://10.0.0.2", 'Cannot add server: the address must be "host:port", received "https://10.0.0.2"'],
    ["10.0.0.1:80", 'Cannot add server to pool "api": "10.0.0.1:80" is a member already'],
  ];
  for (const [spec, message] of cases) assertThrows(() => pool.addServer(spec), TypeError, message);
  assertEquals(ids(pool.servers), ["10.0.0.1:80"]);
});

Deno.test("Pool.removeServer() lets running requests finish and then says so", async () => {
  using pool = new Pool({ name: "api", servers: ["10.0.0.1:80", "10.0.0.2:80"] });
  const seen = watch(pool);
  const server = pool.servers[0]!;
  const leases = [server.acquire(), server.acquire()];
  const removed = pool.removeServer(server);
  assertEquals(ids(pool.servers), ["10.0.0.2:80"]);
  assertEquals(ids(pool.leaving), ["10.0.0.1:80"]);
  assertEquals([server.draining, server.eligible], [true, false]);
  leases[0]!.release();
  assertEquals(seen, ["leaving 10.0.0.1:80"]);
  leases[1]!.release();
  assertEquals(seen, ["leaving 10.0.0.1:80", "removed 10.0.0.1:80"]);
  assertEquals(ids(pool.leaving), []);
  await removed;
});

Deno.test("Pool.removeServer() of an idle server is done at once", async () => {
  using pool = new Pool({ name: "api", servers: ["10.0.0.1:80"] });
  const seen = watch(pool);
  await pool.removeServer("10.0.0.1:80");
  assertEquals(seen, ["leaving 10.0.0.1:80", "removed 10.0.0.1:80"]);
  assertThrows(() => pool.removeServer("10.0.0.1:80"), TypeError, '"10.0.0.1:80" is no member');
});

Deno.test("Pool.addServer() after removeServer() makes another server; the old one goes on draining", async () => {
  using pool = new Pool({ name: "api", servers: ["10.0.0.1:80"] });
  const old = pool.servers[0]!;
  const lease = old.acquire();
  const removed = pool.removeServer(old);
  const server = pool.addServer("10.0.0.1:80");
  assert(server !== old && server.eligible && !old.eligible);
  assertThrows(() => pool.setWeight(old, 2), TypeError, "no member");
  lease.release();
  await removed;
  assertEquals(ids(pool.servers), ["10.0.0.1:80"]);
});

Deno.test("Pool.replaceServers() keeps identity, health and counters of those that stay", async () => {
  using pool = new Pool({ name: "api", servers: ["10.0.0.1:80", { address: "10.0.0.2:80", weight: 2 }] });
  const seen = watch(pool);
  const [first, second] = pool.servers;
  second!.setHealth("down");
  for (let i = 0; i < 7; i++) second!.count("failure");
  const lease = second!.acquire();
  const { added, removed, kept } = pool.replaceServers([
    "10.0.0.3:80",
    { address: "10.0.0.2:80", weight: 5 },
  ]);
  assertEquals([ids(added), ids(removed), ids(kept)], [["10.0.0.3:80"], ["10.0.0.1:80"], ["10.0.0.2:80"]]);
  assertEquals(ids(pool.servers), ["10.0.0.3:80", "10.0.0.2:80"]);
  assertStrictEquals(pool.servers[1], second);
  assertEquals([second!.health, second!.failures, second!.inFlight, second!.weight], ["down", 7, 1, 5]);
  assertEquals(first!.eligible, false);
  assertEquals(seen, ["added 10.0.0.3:80", "leaving 10.0.0.1:80", "removed 10.0.0.1:80"]);
  lease.release();
  await Promise.resolve();
});

Deno.test("Pool.replaceServers() with one address twice changes nothing", () => {
  using pool = new Pool({ name: "api", servers: ["10.0.0.1:80"] });
  assertThrows(
    () => pool.replaceServers(["10.0.0.2:80", "10.0.0.2:80"]),
    TypeError,
    '"10.0.0.2:80" is there twice',
  );
  assertEquals(ids(pool.servers), ["10.0.0.1:80"]);
});

Deno.test("Pool.replaceServers() takes a server that is reached in another way for another one", () => {
  const init = {
    id: "a:443",
    peer: { address: { kind: "tcp", hostname: "a", port: 443 }, tls: null },
  } as const;
  using pool = new Pool({ name: "api", servers: [init] });
  const before = pool.servers[0]!;
  assertEquals(pool.replaceServers([{ ...init, peer: { ...init.peer } }]).kept, [before]);
  pool.replaceServers([{ ...init, peer: { ...init.peer, tls: { serverName: "b", caCerts: [] } } }]);
  assert(pool.servers[0] !== before && before.draining);
});

Deno.test("Pool[Symbol.dispose]() lets go of all, twice as well as once", async () => {
  const pool = new Pool({ name: "api", servers: ["10.0.0.1:80"] });
  pool.servers[0]!.acquire();
  const removed = pool.removeServer("10.0.0.1:80");
  pool[Symbol.dispose]();
  pool[Symbol.dispose]();
  await removed;
  assertEquals(pool.servers, []);
});

Deno.test("two pools with the same addresses share nothing", () => {
  using one = new Pool({ name: "one", servers: ["10.0.0.1:80"] });
  using other = new Pool({ name: "other", servers: ["10.0.0.1:80"] });
  one.setEnabled("10.0.0.1:80", false);
  one.servers[0]!.setHealth("down");
  one.servers[0]!.acquire();
  const server = other.servers[0]!;
  assertEquals([server.eligible, server.inFlight, other.inFlight], [true, 0, 0]);
});

Deno.test("Pool.replaceServers() changes nothing when one of the servers cannot be", () => {
  using pool = new Pool({ name: "test", servers: ["10.0.0.1:80", "10.0.0.2:80"] });
  const before = pool.servers;
  const bad = [{ weight: -1 }, { weight: NaN }, { maxInFlight: NaN }, { address: "nowhere" }];
  for (const part of bad) {
    assertThrows(() => pool.replaceServers(["10.0.0.1:80", { address: "10.0.0.3:80", ...part }]));
    assertStrictEquals(pool.servers, before);
    assertEquals(pool.server("10.0.0.2:80"), before[1]);
  }
});

Deno.test("Pool.replaceServers() tells who waits when a server may take more at once", () => {
  using pool = new Pool({ name: "test", servers: [{ address: "10.0.0.1:80", maxInFlight: 1 }] });
  let told = 0;
  pool.onRoom = () => told++;
  pool.replaceServers([{ address: "10.0.0.1:80", maxInFlight: 1 }]);
  const before = told;
  pool.servers[0]!.configure({ maxInFlight: 1 });
  assertEquals(told, before);
  pool.servers[0]!.configure({ maxInFlight: 2 });
  assertEquals(told, before + 1);
});

for (const how of ["throws", "rejects"]) {
  Deno.test(`Pool goes on when a listener ${how}, and tells the others`, async () => {
    using rejections = new StrayRejections();
    using strays = new StrayErrors();
    const fail = (): void | Promise<void> => {
      if (how === "throws") throw new Error("boom");
      return Promise.reject(new Error("boom"));
    };
    using pool = new Pool({ name: "api", servers: [] });
    const seen: string[] = [];
    using _failing = pool.subscribe({ onAdded: fail, onLeaving: fail, onRemoved: fail });
    using _other = pool.subscribe({
      onAdded: () => seen.push("added"),
      onLeaving: () => seen.push("leaving"),
      onRemoved: () => seen.push("removed"),
    });
    pool.addServer("10.0.0.1:80");
    assertEquals(pool.servers.length, 1);
    await pool.removeServer("10.0.0.1:80");
    await new Promise((resolve) => setTimeout(resolve, 0));
    assertEquals(seen, ["added", "leaving", "removed"]);
    const lines = ["onAdded", "onLeaving", "onRemoved"].map((name) => `${name} of pool "api" threw: boom`);
    assertEquals([strays.lines, rejections.reasons], [lines, []]);
  });
}
