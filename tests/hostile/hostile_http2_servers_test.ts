/** Hostile servers of HTTP/2 behind a whole proxy. */

import { assert, assertEquals } from "@std/assert";
import { rawHttp2Upstream } from "../support/raw_http2.ts";
import { startProxy } from "../support/start_proxy.ts";
import { TEST_WORKERS } from "../support/test_workers.ts";
import { HOSTILE_HTTP2 } from "./hostile_http2_servers.ts";
import { nothingInFlight, outcomeOf } from "./outcome.ts";

/** For responses of which the rest does not come. */
const TIMEOUTS = { connect: "5s", response: "5s", idle: "5s" } as const;

for (const { name, frames, costs, content, closes = false } of HOSTILE_HTTP2) {
  const what = content === undefined ? `costs the ${costs}` : "is passed on";
  Deno.test(`server of HTTP/2 that sends ${name}: ${what}, and nothing of it is left`, async () => {
    await using upstream = rawHttp2Upstream(async (http2, index) => {
      const id = await http2.request();
      if (index > 0) await http2.respond(id, "next");
      else {
        // A server that is cut off in the middle has failed to write the rest.
        for (const bytes of frames(id)) await http2.connection.write(bytes).catch(() => {});
        if (closes) return;
      }
      await http2.serve("next").catch(() => {});
    });
    await using proxy = await startProxy({
      upstreams: {
        servers: [upstream.address],
        protocol: "h2",
        retries: false,
        ejection: false,
        timeouts: TIMEOUTS,
      },
    });
    const outcome = await outcomeOf(proxy);
    if (content === undefined) {
      assert(outcome === "broken" || outcome.status === 502, JSON.stringify(outcome));
    } else assertEquals(outcome === "broken" ? outcome : outcome.text, content);
    const next = await proxy.ask("GET /next");
    assertEquals([next.status, next.text.slice(0, 4)], [200, "next"]);
    // Nobody has asked again on a connection that broke the protocol; of a stream that did the others know nothing.
    if (TEST_WORKERS === 1) assertEquals(upstream.opened, costs === "connection" ? 2 : 1);
    else assert(upstream.opened <= 2, `${upstream.opened} connections`);
    assertEquals(upstream.errors, []);
    await nothingInFlight(proxy);
  });
}

Deno.test("there are at least 100 hostile responses of HTTP/2, each with a name of its own", () => {
  const hostile = HOSTILE_HTTP2.filter(({ content }) => content === undefined);
  assert(hostile.length >= 100, `${hostile.length}`);
  assertEquals(new Set(HOSTILE_HTTP2.map(({ name }) => name)).size, HOSTILE_HTTP2.length);
});
