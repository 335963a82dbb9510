import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { OVER_TLS } from "../../support/engine.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const STICKY = { secret: "a secret of enough characters" };

/** The cookie that an answer sets, as a client sends it back. */
function cookieOf(field: string | undefined): string {
  return field?.split(";")[0] ?? "";
}

eachTransport("proxy keeps a client with a cookie at the server that answered it first", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: { servers: [a.address, b.address], sticky: STICKY } });
  const first = await proxy.ask();
  assertMatch(
    first.field("set-cookie")!,
    OVER_TLS
      ? /^lbproxy=[\w-]{43}; Secure; HttpOnly; SameSite=Lax; Path=\/$/
      : /^lbproxy=[\w-]{43}; HttpOnly; SameSite=Lax; Path=\/$/,
  );
  for (let i = 0; i < 5; i++) {
    const again = await proxy.ask("GET /", [`Cookie: other=1; ${cookieOf(first.field("set-cookie"))}`]);
    assertEquals([again.text, again.field("set-cookie")], [first.text, undefined]);
  }
});

eachTransport("proxy takes no forged cookie for a server's, and gives one that is", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: { servers: [a.address, b.address], sticky: STICKY } });
  const texts = new Set<string>();
  for (let i = 0; i < 2; i++) {
    const answer = await proxy.ask("GET /", [`Cookie: lbproxy=${"A".repeat(43)}`]);
    texts.add(answer.text);
    assertMatch(answer.field("set-cookie")!, /^lbproxy=[\w-]{43};/);
  }
  assertEquals(texts, new Set(["a", "b"]));
});

eachTransport("proxy sends a client whose server is gone to another, and ties it there", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: { servers: [a.address, b.address], sticky: STICKY } });
  const first = await proxy.ask();
  const cookie = cookieOf(first.field("set-cookie"));
  await (first.text === "a" ? a : b).close();
  const moved = await proxy.ask("GET /", [`Cookie: ${cookie}`]);
  assertEquals(moved.status, 200);
  assertNotEquals(moved.text, first.text);
  const other = cookieOf(moved.field("set-cookie"));
  assertNotEquals(other, cookie);
  const stays = await proxy.ask("GET /", [`Cookie: ${other}`]);
  assertEquals([stays.text, stays.field("set-cookie")], [moved.text, undefined]);
});

eachTransport("proxy keeps the server's own cookies apart from the one it adds", async (start) => {
  await using a = startUpstream({
    handler: () =>
      new Response("a", { headers: [["set-cookie", "x=1; Path=/"], ["set-cookie", "y=2; Path=/"]] }),
  });
  await using proxy = await start({ upstreams: { servers: [a.address], sticky: STICKY } });
  const { fields } = await proxy.ask();
  const set = fields.filter(([name]) => name.toLowerCase() === "set-cookie").map(([, value]) =>
    cookieOf(value)
  );
  assertEquals(set.map((cookie) => cookie.split("=")[0]), ["x", "y", "lbproxy"]);
});

Deno.test("proxy ties nobody to a server named by upstreamPeer, nor by a local reply", async () => {
  await using a = startUpstream("a");
  await using named = await startProxy({
    upstreams: { servers: [a.address], sticky: STICKY },
    upstreamPeer: () => ({ address: a.address }),
  });
  assertEquals((await named.ask()).field("set-cookie"), undefined);
  await using failing = await startProxy({
    upstreams: { servers: [`127.0.0.1:${deadPort()}`], sticky: STICKY },
  });
  const failed = await failing.ask();
  assertEquals([failed.status, failed.field("set-cookie")], [502, undefined]);
});

Deno.test("proxy takes a client back in with its own sessions after a server was replaced", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await startProxy({ upstreams: { servers: [a.address], sticky: STICKY } });
  const cookie = cookieOf((await proxy.ask()).field("set-cookie"));
  const pool = proxy.server.pools.get("default")!;
  pool.replaceServers([b.address]);
  const moved = await proxy.ask("GET /", [`Cookie: ${cookie}`]);
  assertEquals([moved.text, cookieOf(moved.field("set-cookie")) === cookie], ["b", false]);
  pool.replaceServers([b.address, a.address]);
  for (let i = 0; i < 3; i++) assertEquals((await proxy.ask("GET /", [`Cookie: ${cookie}`])).text, "a");
});
