import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { systemClock } from "../../../lib/core/clock.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { Discovery, dnsDiscovery, type DnsDiscoveryOptions } from "../../../lib/upstream/discovery.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import { DnsServer } from "../../support/dns_server.ts";
import { keepAlive } from "../../support/keep_alive.ts";

function discover(dns: DnsServer, options: Omit<DnsDiscoveryOptions, "resolver">) {
  return dnsDiscovery({ ...options, resolver: dns.address })(new AbortController().signal);
}

Deno.test("dnsDiscovery() finds addresses, each once and in an order that means nothing", async () => {
  await using dns = await DnsServer.start();
  dns.records.set("api.test", [
    { type: "A", address: "127.0.0.3" },
    { type: "A", address: "127.0.0.2" },
    { type: "A", address: "127.0.0.3" },
    { type: "AAAA", address: "fd00::1:2" },
  ]);
  assertEquals(await discover(dns, { name: "api.test", record: "A", port: 8080 }), [
    { address: "127.0.0.2:8080" },
    { address: "127.0.0.3:8080" },
  ]);
  assertEquals(await discover(dns, { name: "api.test", record: "AAAA", port: 8080 }), [
    { address: "[fd00::1:2]:8080" },
  ]);
});

Deno.test("dnsDiscovery() makes weights of SRV weights, and backups of all but the best priority", async () => {
  await using dns = await DnsServer.start();
  dns.records.set("_http._tcp.api.test", [
    { type: "SRV", priority: 10, weight: 3, port: 8081, target: "a.api.test" },
    { type: "SRV", priority: 10, weight: 0, port: 8082, target: "b.api.test" },
    { type: "SRV", priority: 20, weight: 5, port: 8083, target: "c.api.test" },
  ]);
  assertEquals(await discover(dns, { name: "_http._tcp.api.test", record: "SRV" }), [
    { address: "a.api.test:8081", weight: 3, backup: false },
    { address: "b.api.test:8082", weight: 1, backup: false },
    { address: "c.api.test:8083", weight: 5, backup: true },
  ]);
});

Deno.test("dnsDiscovery() rejects a name that does not exist, and lets go when the signal aborts", async () => {
  await using dns = await DnsServer.start();
  await assertRejects(
    () => discover(dns, { name: "gone.test", record: "A", port: 80 }),
    Deno.errors.NotFound,
  );
  dns.silent = true;
  const controller = new AbortController();
  const options: DnsDiscoveryOptions = { name: "api.test", record: "A", port: 80, resolver: dns.address };
  const search = dnsDiscovery(options)(controller.signal);
  controller.abort();
  await assertRejects(() => search);
});

Deno.test("dnsDiscovery() refuses to be without a port, and a resolver that is none", () => {
  assertThrows(
    () => dnsDiscovery({ name: "a", record: "A" }),
    TypeError,
    '"port" is required beside A records',
  );
  for (const resolver of ["localhost", "10.0.0.1:", "", "[::1"]) {
    assertThrows(
      () => dnsDiscovery({ name: "a", record: "SRV", resolver }),
      TypeError,
      "the resolver must be",
    );
  }
});

Deno.test("Discovery follows the DNS while it changes", async () => {
  using _alive = keepAlive();
  await using dns = await DnsServer.start();
  dns.records.set("api.test", [{ type: "A", address: "127.0.0.2" }]);
  let changed = Promise.withResolvers<void>();
  using pool = new Pool({ name: "test", servers: [] });
  using discovery = new Discovery({
    pool,
    discover: dnsDiscovery({ name: "api.test", record: "A", port: 80, resolver: dns.address }),
    intervalMs: 10,
    timeoutMs: 5000,
    clock: systemClock,
    random: seededRandom(1),
    onChange: () => changed.resolve(),
  });
  await discovery.start();
  assertEquals(pool.servers.map(({ id }) => id), ["127.0.0.2:80"]);
  changed = Promise.withResolvers();
  dns.records.set("api.test", [{ type: "A", address: "127.0.0.2" }, { type: "A", address: "127.0.0.3" }]);
  await changed.promise;
  assertEquals(pool.servers.map(({ id }) => id), ["127.0.0.2:80", "127.0.0.3:80"]);
});
