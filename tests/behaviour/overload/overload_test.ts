/** `overload`: what the whole proxy works on at most. */

import { assertEquals } from "@std/assert";
import { eachTransport } from "../../support/each_transport.ts";
import { Gate } from "../../support/gate.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const REFUSED = 'lbproxy; error=proxy_internal_error; details="overloaded"';

eachTransport(
  "overload.maxInFlight bounds the requests of all pools together, and says when to come back",
  async (start) => {
    await using gate = new Gate();
    await using other = startUpstream("other");
    await using proxy = await start({
      upstreams: { gate: [gate.upstream.address], other: [other.address] },
      routes: [{ match: { path: "/other" }, upstream: "other" }, { upstream: "gate" }],
      overload: { maxInFlight: 2 },
    });
    const running = [proxy.ask(), proxy.ask()];
    await gate.untilWaiting(2);
    for (const path of ["/", "/other"]) {
      const refused = await proxy.ask(`GET ${path}`);
      assertEquals([refused.status, refused.field("retry-after"), refused.field("proxy-status")], [
        503,
        "1",
        REFUSED,
      ]);
    }
    assertEquals(proxy.seen.entries.map(({ error }) => error), ["overloaded", "overloaded"]);
    gate.answer();
    await Promise.race(running);
    assertEquals((await proxy.ask("GET /other")).status, 200);
    gate.answer();
    for (const each of running) assertEquals((await each).status, 200);
    assertEquals(other.requests, 1);
  },
);

Deno.test("overload.queue lets requests wait in their order, refuses those beyond, and forgets clients that leave", async () => {
  await using gate = new Gate();
  await using proxy = await startProxy({
    upstreams: [gate.upstream.address],
    overload: { maxInFlight: 1, queue: { size: 2, timeout: "1h" } },
  });
  const first = proxy.ask("GET /1");
  await gate.untilWaiting(1);
  const leaving = await proxy.connect();
  await leaving.write("GET /gone HTTP/1.1\r\nHost: h\r\n\r\n");
  leaving.close();
  assertEquals((await proxy.seen.untilEntries(1)).status, 499);
  const second = proxy.ask("GET /2");
  const third = proxy.ask("GET /3");
  // Two wait: the next one is refused at once, as soon as both have arrived.
  let refused = 0;
  while ((await proxy.ask("GET /refused")).status !== 503 && refused < 1000) refused++;
  for (const each of [first, second, third]) {
    gate.answer();
    assertEquals((await each).status, 200);
    if (each !== third) await gate.untilWaiting(1);
  }
  assertEquals(gate.upstream.seen.map(({ target }) => target), ["/1", "/2", "/3"]);
});

Deno.test("overload.queue refuses who has waited for too long", async () => {
  await using gate = new Gate();
  await using proxy = await startProxy({
    upstreams: [gate.upstream.address],
    overload: { maxInFlight: 1, queue: { size: 5, timeout: "50ms" } },
  });
  const first = proxy.ask();
  await gate.untilWaiting(1);
  const statuses = await Promise.all([proxy.ask(), proxy.ask()]);
  assertEquals(statuses.map(({ status }) => status), [503, 503]);
  gate.answer();
  assertEquals((await first).status, 200);
});

Deno.test("overload.maxLoopDelay refuses while the event loop is late, and no longer", async () => {
  await using upstream = startUpstream("ok");
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    overload: { maxLoopDelay: "300ms" },
  });
  assertEquals((await proxy.ask()).status, 200);
  let refused = false;
  for (let i = 0; i < 20 && !refused; i++) {
    const until = performance.now() + 600;
    while (performance.now() < until);
    refused = (await proxy.ask()).status === 503;
  }
  assertEquals(refused, true);
  let status = 0;
  for (let i = 0; i < 1000 && status !== 200; i++) status = (await proxy.ask()).status;
  assertEquals(status, 200);
});
