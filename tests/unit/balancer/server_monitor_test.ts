/** When a supervisor reads changes by its workers. */

import { assert, assertEquals } from "@std/assert";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { resolveHealthCheck } from "../../../lib/health/health_check_options.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import { SHARED_SERVERS_BYTES, SharedServers } from "../../../lib/upstream/shared_servers.ts";
import { FakeClock } from "../../support/fake_clock.ts";

Deno.test("a supervisor wakes rarely while its workers change nothing, and checks servers soon when they request it", async () => {
  const memory = new ArrayBuffer(SHARED_SERVERS_BYTES);
  const shared = new SharedServers(memory, 0);
  const worker = new SharedServers(memory, 1);
  worker.onChange = () => shared.notify();
  const clock = new FakeClock();
  let timers = 0;
  let checks = 0;
  const counting = {
    now: () => clock.now(),
    wallTime: () => clock.wallTime(),
    setTimer: (callback: () => void, delayMs: number) => {
      timers++;
      return clock.setTimer(callback, delayMs);
    },
  };
  await using balancer = new LoadBalancer({
    pool: new Pool({ name: "a", servers: ["127.0.0.1:1"], shared }),
    healthCheck: resolveHealthCheck({ type: "tcp", interval: "1h", unhealthyInterval: "1h", fall: 1 }),
    probe: () => {
      checks++;
      return Promise.reject(new Error("a test"));
    },
    clock: counting,
  });
  await balancer.startHealthChecks();
  assertEquals(checks, 1);
  await clock.advance(1000);
  timers = 0;
  await clock.advance(60_000);
  assert(timers <= 60, `${timers} timers in a minute`);
  worker.look();
  await clock.advance(20);
  assertEquals(checks, 2);
});
