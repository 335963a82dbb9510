/** Proxies within programs of their own. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createHandler } from "../../../lib/server/create_handler.ts";
import { serve } from "../../../lib/server/serve.ts";
import { ProgramFolder } from "../../support/program.ts";
import { Recorder } from "../../support/recorder.ts";
import { askAt } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const MOD = new URL("../../../mod.ts", import.meta.url).href;

function programFor(upstream: string, way: "serve" | "createHandler", log: "text" | "json"): string {
  const start = way === "serve"
    ? `await using proxy = await serve({ listen: "127.0.0.1:0", ...config }, { log: "${log}" });
       const address = proxy.addresses[0];`
    : `await using proxy = createHandler(config, { log: "${log}" });
       await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, proxy);
       const address = "127.0.0.1:" + server.addr.port;`;
  return `
    import { createHandler, serve } from "${MOD}";
    const config = { upstreams: ["${upstream}"] };
    ${start}
    await (await fetch("http://" + address + "/logged")).text();`;
}

for (const way of ["serve", "createHandler"] as const) {
  for (const log of ["text", "json"] as const) {
    Deno.test(`${way}() logs as ${log}, down to the last line`, async () => {
      await using upstream = startUpstream();
      await using folder = await ProgramFolder.with({
        "program.ts": programFor(upstream.address, way, log),
      });
      const { code, stdout, stderr } = await folder.runModule("program.ts");
      assertEquals([code, stdout.trim().split("\n").length], [0, 1], stderr);
      if (log === "json") {
        assertEquals(JSON.parse(stdout).target, "/logged");
        assertStringIncludes(stderr, '"kind":"stopped"');
      } else {
        assertMatch(stdout, /GET "?\/logged"? 200/);
        assertStringIncludes(stderr, "Stopped: all requests finished");
      }
    });
  }
}

Deno.test("createHandler() reloads: the handler is the same, its pools and its configuration are others", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  const seen = new Recorder();
  const handler = createHandler({ upstreams: { one: [a.address] } }, { log: seen });
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  const { port } = server.addr;
  assertEquals((await askAt(port)).text, "a");
  const { applied, generation } = await handler.reload({ upstreams: { two: [b.address] } });
  assertEquals([applied, generation, handler.configuration.generation], [true, 2, 2]);
  assertEquals([...handler.pools.keys()], ["two"]);
  assertEquals((await askAt(port)).text, "b");
  assertEquals(seen.eventsOf("reload").map(({ outcome }) => outcome), ["applied"]);
  assertMatch(handler.metrics(), /lbproxy_config_generation 2\n/);
  assertEquals(await handler.shutdown(), 0);
  assertEquals(handler.stopping, true);
});

Deno.test("serve() reports to an observer of one's own, and two proxies in one process share nothing", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  const [one, two] = [new Recorder(), new Recorder()];
  const limiter = { key: "ip", limit: 1, window: "1h" } as const;
  await using first = await serve({ listen: "127.0.0.1:0", upstreams: [a.address], limiter }, { log: one });
  await using second = await serve({ listen: "127.0.0.1:0", upstreams: [b.address], limiter }, {
    log: two,
    observer: one,
  });
  const ports = [first, second].map(({ addresses }) => Number(addresses[0]!.split(":")[1]));
  assertEquals([(await askAt(ports[0]!)).text, (await askAt(ports[1]!)).text], ["a", "b"]);
  await Promise.all([one.untilEntries(2), two.untilEntries(1)]);
  await first.reload({ listen: "127.0.0.1:0", upstreams: [a.address], limiter });
  assertEquals([first.configuration.generation, second.configuration.generation], [2, 1]);
  assertEquals((await askAt(ports[0]!)).status, 429);
});
