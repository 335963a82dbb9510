import { assertEquals } from "@std/assert";
import { DnsServer } from "../../support/dns_server.ts";
import { startExample } from "../../support/start_example.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("examples/dns_discovery takes its servers, their weights and backups from the DNS", async () => {
  await using large = startUpstream("large");
  await using small = startUpstream("small");
  await using spare = startUpstream("spare");
  await using dns = await DnsServer.start();
  const record = ({ port }: { port: number }, weight: number, priority: number) => ({
    type: "SRV" as const,
    priority,
    weight,
    port,
    target: "127.0.0.1",
  });
  dns.records.set("_http._tcp.api.internal", [record(large, 3, 1), record(small, 1, 1), record(spare, 1, 2)]);
  await using example = await startExample("dns_discovery", {
    set: { "upstreams.discovery.resolver": dns.address },
  });
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 8; n++) names.push((await example.ask("GET /")).field("x-upstream"));
  assertEquals(names.toSorted().join(" "), "large large large large large large small small");
});
