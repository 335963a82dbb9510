import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { describeValue } from "../../../lib/core/describe_value.ts";
import { PoolState, Server } from "../../../lib/upstream/server.ts";

const PEER = { address: { kind: "tcp", hostname: "10.0.0.1", port: 80 }, tls: null } as const;

Deno.test("Server.acquire() counts in and its lease counts out, once", () => {
  const state = new PoolState();
  const server = new Server({ id: "a", peer: PEER }, state);
  const lease = server.acquire();
  const other = server.acquire();
  assertEquals([server.inFlight, state.inFlight], [2, 2]);
  lease.release();
  lease.release();
  assertEquals([server.inFlight, state.inFlight], [1, 1]);
  other.release();
  assertEquals([server.inFlight, state.inFlight], [0, 0]);
});

Deno.test("Server.inFlight returns to zero after any mix of leases", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 60 }), (steps) => {
      const server = new Server({ id: "a", peer: PEER });
      const leases = new Set<ReturnType<Server["acquire"]>>();
      for (const step of steps) {
        if (step < 5) leases.add(server.acquire());
        else {
          const [lease] = leases;
          lease?.release();
          if (step < 8 && lease !== undefined) leases.delete(lease);
          else lease?.release();
        }
      }
      for (const lease of leases) lease.release();
      assertEquals(server.inFlight, 0);
    }),
    { seed: 4, numRuns: 200 },
  );
});

Deno.test("Server.full follows the requests in flight", () => {
  const server = new Server({ id: "a", peer: PEER, maxInFlight: 1 });
  assertEquals(server.eligible, true);
  const lease = server.acquire();
  assertEquals([server.full, server.eligible, server.available], [true, false, true]);
  assertEquals(server.ineligibility, "full");
  lease.release();
  assertEquals(server.eligible, true);
});

Deno.test("Server tells of changes that may change a choice, and only of these", () => {
  const state = new PoolState();
  const server = new Server({ id: "a", peer: PEER }, state);
  const changes: (() => void)[] = [
    () => server.setHealth("down"),
    () => server.setHealth("up"),
    () => server.setEnabled(false),
    () => server.setDraining(true),
    () => server.setEjected(true),
    () => server.setRamp(0.5),
    () => server.configure({ weight: 3 }),
  ];
  for (const change of changes) {
    const before = state.version;
    change();
    assertEquals(state.version, before + 1);
    change();
    assertEquals(state.version, before + 1, "the same again is no change");
  }
  assertEquals(state.membership, 1);
  assertEquals(server.effectiveWeight, 1.5);
});

Deno.test("Server refuses a weight that is no number from 0 to 65535", () => {
  for (const weight of [-1, NaN, Infinity, 1e300, "5" as unknown as number]) {
    assertThrows(
      () => new Server({ id: "a:1", peer: PEER, weight }),
      RangeError,
      `Cannot weigh server "a:1": the weight must be a number from 0 to 65535, received ${
        describeValue(weight)
      }`,
    );
  }
});
