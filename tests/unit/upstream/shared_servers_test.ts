import { assertEquals, assertThrows } from "@std/assert";
import { Pool } from "../../../lib/upstream/pool.ts";
import { SHARED_SERVERS_BYTES, SharedServers } from "../../../lib/upstream/shared_servers.ts";

/** The supervisor and two workers, all in this process, with the same pool. */
function threeProcesses() {
  const buffer = new ArrayBuffer(SHARED_SERVERS_BYTES);
  const [supervisor, one, other] = [0, 1, 2].map((process) => new SharedServers(buffer, process));
  const pool = new Pool({
    name: "p",
    servers: [{ address: "127.0.0.1:1", maxInFlight: 3 }, "127.0.0.1:2"],
    shared: supervisor!,
  });
  const poolOf = (shared: SharedServers) =>
    new Pool({ name: "p", servers: pool.placed, shared, slot: pool.slot });
  return { supervisor: supervisor!, pool, one: poolOf(one!), other: poolOf(other!) };
}

Deno.test("SharedServers lets in no more requests than a server may have, whoever asks", () => {
  const { pool, one, other } = threeProcesses();
  const [a, b] = [one.servers[0]!, other.servers[0]!];
  const leases = [a.tryAcquire(), b.tryAcquire(), a.tryAcquire()];
  assertEquals([b.tryAcquire(), a.full, b.full, pool.servers[0]!.inFlight], [null, true, true, 3]);
  leases[1]!.release();
  assertEquals([a.full, pool.servers[0]!.inFlight, pool.inFlight, one.inFlight], [false, 2, 2, 2]);
  other.maxInFlight = 2;
  assertEquals(b.tryAcquire(), null);
  assertEquals(pool.inFlight, 2);
});

Deno.test("SharedServers shows each process what another one has changed", () => {
  const { pool, one, other } = threeProcesses();
  const before = one.version;
  pool.servers[0]!.setHealth("down");
  pool.setEnabled("127.0.0.1:2", false);
  assertEquals(one.servers.map(({ healthy, enabled }) => [healthy, enabled]), [[false, true], [true, false]]);
  assertEquals(one.version > before, true);
  const [a, b] = [one.servers[0]!, other.servers[0]!];
  assertEquals([a.setEjected(true), b.ejected, b.setEjected(true)], [true, true, false]);
  b.setEjected(false, true);
  const trial = a.tryAcquire();
  assertEquals([trial === null, b.full, b.tryAcquire()], [false, true, null]);
  trial!.release();
  assertEquals(b.full, false);
  a.count("failure");
  b.count("failure");
  b.count("ignored");
  const { requests, failures, consecutiveFailures } = pool.servers[0]!;
  assertEquals([requests, failures, consecutiveFailures], [3, 2, 2]);
  a.count("success");
  assertEquals(b.consecutiveFailures, 0);
});

Deno.test("SharedServers gives back what a process held that has ended", () => {
  const { supervisor, pool, one, other } = threeProcesses();
  one.servers[0]!.tryAcquire();
  one.servers[1]!.tryAcquire();
  const kept = other.servers[0]!.tryAcquire();
  one.servers[1]!.setEjected(false, true);
  one.servers[1]!.tryAcquire();
  supervisor.release(1);
  assertEquals(pool.servers.map(({ inFlight, full }) => [inFlight, full]), [[1, false], [0, false]]);
  assertEquals(pool.inFlight, 1);
  kept!.release();
  assertEquals(pool.inFlight, 0);
});

Deno.test("SharedServers has no room for any number of servers", () => {
  const servers = new SharedServers(new ArrayBuffer(SHARED_SERVERS_BYTES), 0);
  for (let i = 0; i < 4096; i++) servers.allocate();
  assertThrows(() => servers.allocate(), RangeError, "Workers share no more than 4096 servers");
  servers.free(7);
  assertEquals(servers.allocate(), 7);
});

Deno.test("SharedServers gives no place away that requests of a former owner still use", () => {
  const buffer = new ArrayBuffer(SHARED_SERVERS_BYTES);
  const [servers, worker] = [new SharedServers(buffer, 0), new SharedServers(buffer, 1)];
  for (let i = 0; i < 4096; i++) servers.allocate();
  const [running, waits] = [worker.cells(7), worker.cells(8)];
  running.enter(Infinity);
  waits.enterQueue(Infinity);
  for (const slot of [7, 8, 9]) servers.free(slot);
  assertEquals(servers.allocate(), 9);
  assertThrows(() => servers.allocate(), RangeError);
  running.leave();
  assertEquals(servers.allocate(), 7);
  waits.leaveQueue();
  assertEquals(servers.allocate(), 8);
});
