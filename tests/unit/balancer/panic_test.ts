import { assertEquals } from "@std/assert";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";

const ADDRESSES = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"];

function chosen(balancer: LoadBalancer): number {
  return new Set(Array.from({ length: 12 }, () => balancer.select()?.id).filter((id) => id !== undefined))
    .size;
}

Deno.test("LoadBalancer uses all servers when less than the panic threshold is up, and says so once", () => {
  const said: boolean[] = [];
  using balancer = LoadBalancer.from(ADDRESSES, {
    panicThreshold: 0.5,
    onPanic: (panic) => said.push(panic),
  });
  const { servers } = balancer.pool;
  servers[0]!.setHealth("down");
  servers[1]!.setEjected(true);
  assertEquals([chosen(balancer), balancer.panic], [2, false]);
  servers[2]!.setHealth("down");
  assertEquals([chosen(balancer), balancer.panic], [4, true]);
  servers[3]!.setHealth("down");
  assertEquals(chosen(balancer), 4);
  servers[2]!.setHealth("up");
  servers[3]!.setHealth("up");
  assertEquals([chosen(balancer), balancer.panic], [2, false]);
  assertEquals(said, [true, false]);
});

Deno.test("LoadBalancer in panic still obeys the operator and the limits", () => {
  using balancer = LoadBalancer.from([...ADDRESSES.slice(0, 3), { address: "10.0.0.4:80", maxInFlight: 0 }], {
    panicThreshold: 1,
  });
  const { pool } = balancer;
  for (const server of pool.servers) server.setHealth("down");
  pool.setEnabled("10.0.0.1:80", false);
  pool.setDraining("10.0.0.2:80", true);
  assertEquals(new Set(Array.from({ length: 9 }, () => balancer.select()!.id)), new Set(["10.0.0.3:80"]));
});

Deno.test("LoadBalancer does not panic unless it is told to", () => {
  using balancer = LoadBalancer.from(ADDRESSES);
  for (const server of balancer.pool.servers) server.setHealth("down");
  assertEquals([chosen(balancer), balancer.panic], [0, false]);
});
