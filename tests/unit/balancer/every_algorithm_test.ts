import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Lease } from "../../../lib/core/cancellation.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { type Balance, BALANCE_NAMES } from "../../../lib/balancer/create_algorithm.ts";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const EVERY: readonly Balance[] = [...BALANCE_NAMES, (servers) => servers.at(-1)];

const STEP = fc.record({
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
    "tick",
    "release",
    "fail",
  ),
  which: fc.nat(7),
  weight: fc.integer({ min: 0, max: 9 }),
  key: fc.option(fc.string(), { nil: undefined }),
  tried: fc.nat(3),
});

function apply(
  step: { what: string; which: number; weight: number },
  balancer: LoadBalancer,
  number: number,
): void {
  const { what, which, weight } = step;
  const { pool } = balancer;
  if (what === "add") {
    pool.addServer({ address: `10.1.0.${number}:80`, weight, maxInFlight: 2, backup: which === 0 });
  }
  const server = pool.servers[which % Math.max(1, pool.servers.length)];
  if (server === undefined) return;
  if (what === "down" || what === "up") server.setHealth(what);
  if (what === "disable" || what === "enable") pool.setEnabled(server, what === "enable");
  if (what === "drain" || what === "resume") pool.setDraining(server, what === "drain");
  if (what === "eject" || what === "restore") server.setEjected(what === "eject");
  if (what === "weight") pool.setWeight(server, weight);
  if (what === "remove") pool.removeServer(server);
  if (what === "fail") balancer.report(server, "failure", 5);
}

for (const [index, balance] of EVERY.entries()) {
  const name = typeof balance === "string" ? balance : "a function";

  Deno.test(`LoadBalancer by ${name} gives an eligible server that was not tried, whenever there is one`, () => {
    fc.assert(
      fc.property(fc.array(STEP, { maxLength: 50 }), fc.integer(), (steps, seed) => {
        const clock = new FakeClock();
        const servers = [
          "10.0.0.1:80",
          { address: "10.0.0.2:80", weight: 5, maxInFlight: 3 },
          { address: "10.0.0.3:80", weight: 2 },
          { address: "10.0.0.4:80", backup: true },
        ];
        const pool = new Pool({ name: "test", servers });
        using balancer = new LoadBalancer({
          pool,
          balance,
          clock,
          random: seededRandom(seed),
          ejection: null,
          loadFactor: 1.5,
        });
        const leases: Lease[] = [];
        steps.forEach((step, number) => {
          apply(step, balancer, number);
          if (step.what === "tick") clock.tick(1);
          if (step.what === "release") leases.shift()?.release();
          const exclude = pool.servers.slice(0, step.tried);
          const useful = pool.servers.filter((server) => {
            return server.eligible && server.weight > 0 && !exclude.includes(server);
          });
          const { key } = step;
          const chosen = balancer.pick({ key, exclude });
          assertEquals(chosen === undefined, useful.length === 0);
          if (chosen === undefined) return;
          assert(useful.includes(chosen), `${chosen.id} is ${chosen.ineligibility}`);
          if (chosen.backup) assert(useful.every((server) => server.backup));
          leases.push(chosen.acquire());
        });
        for (const lease of leases) lease.release();
        assertEquals(
          [pool.inFlight, ...pool.servers.map(({ inFlight }) => inFlight)].some((count) => count > 0),
          false,
        );
      }),
      { seed: 40 + index, numRuns: 150 },
    );
  });
}

Deno.test("LoadBalancer by a function gives nothing when that throws or names a stranger", () => {
  const errors: unknown[] = [];
  const strangers = LoadBalancer.from(["10.0.0.9:80"]);
  const answers: Balance[] = [
    () => {
      throw new Error("no");
    },
    () => strangers.pool.servers[0],
    () => {},
  ];
  for (const balance of answers) {
    using balancer = LoadBalancer.from(["10.0.0.1:80"], {
      balance,
      onBalanceError: (error) => errors.push(error),
    });
    assertEquals(balancer.select(), undefined);
  }
  assertEquals(errors.length, 1);
  strangers[Symbol.dispose]();
});

Deno.test("LoadBalancer by a function hands over the servers that may be used and what it was asked with", () => {
  const seen: unknown[] = [];
  using balancer = LoadBalancer.from(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], {
    balance: (servers, source) => {
      seen.push(servers.map(({ id }) => id), source);
      return servers[0];
    },
  });
  const [one, other] = balancer.pool.servers;
  other!.setHealth("down");
  assertEquals(balancer.pick({ exclude: [one!], source: "request" })?.id, "10.0.0.3:80");
  assertEquals(seen, [["10.0.0.3:80"], "request"]);
});

Deno.test("LoadBalancer by first uses the next one only when the first cannot be", () => {
  using balancer = LoadBalancer.from([{ address: "10.0.0.1:80", maxInFlight: 1 }, "10.0.0.2:80"], {
    balance: "first",
  });
  const first = balancer.select()!;
  assertEquals(first.id, "10.0.0.1:80");
  using _lease = first.acquire();
  assertEquals(balancer.select()!.id, "10.0.0.2:80");
});
