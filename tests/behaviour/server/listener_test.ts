import { assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { ListenError } from "../../../lib/engine/engine.ts";
import { serve } from "../../../lib/server/serve.ts";
import { engineCan } from "../../support/engine.ts";
import { readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { untilRefused } from "../../support/until_refused.ts";

/** Status and content of an answer at an address. */
async function ask(address: string): Promise<[number, string]> {
  const response = await fetch(`http://${address}/`);
  return [response.status, await response.text()];
}

Deno.test("serve() listens at every address, and tells the ports that it was given", {
  ignore: !engineCan("plain HTTP"),
}, async () => {
  await using upstream = startUpstream();
  const told: (readonly string[])[] = [];
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: ["127.0.0.1:0", { hostname: "127.0.0.1", port: 0 }, "[::1]:0"],
    onListen: (addresses, pools) => void told.push(addresses, [...pools.keys()]),
  });
  const { addresses } = proxy.server;
  assertEquals(addresses.length, 3);
  assertEquals(new Set(addresses).size, 3);
  for (const address of addresses) assertEquals(await ask(address), [200, "upstream"]);
  assertEquals(told, [addresses, ["default"]]);
  assertEquals(proxy.seen.eventsOf("listening").map(({ addresses }) => addresses), [addresses]);
  assertEquals(addresses[2]!.startsWith("[::1]:"), true);
  assertEquals(upstream.seen[2]!.headers.get("x-forwarded-for"), "::1");
});

Deno.test("serve() names the address that is in use, and lets go of those that it had opened", async () => {
  await using upstream = startUpstream();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const first = free.addr.port;
  free.close();
  const listen = [`127.0.0.1:${first}`, `127.0.0.1:${taken.addr.port}`];
  const error = await assertRejects(() => serve({ upstreams: [upstream.address], listen }), ListenError);
  assertEquals(error.message, `Cannot listen at 127.0.0.1:${taken.addr.port}: the address is in use`);
  assertInstanceOf(error.cause, Deno.errors.AddrInUse);
  await untilRefused(first);
});

Deno.test("serve() names an address that this machine does not have", async () => {
  const error = await assertRejects(
    () => serve({ upstreams: ["127.0.0.1:1"], listen: "192.0.2.1:0" }),
    ListenError,
  );
  assertStringIncludes(error.message, "Cannot listen at 192.0.2.1:0: this machine does not have the address");
});

Deno.test("serve() refuses a bad configuration before it listens", async () => {
  await assertRejects(() => serve({ upstreams: ["no address"], listen: "127.0.0.1:0" }), ConfigError);
});

Deno.test("serve() goes on when onListen throws, and reports it", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    onListen: () => {
      throw new Error("mine");
    },
  });
  assertEquals((await proxy.ask()).status, 200);
  assertEquals(proxy.seen.eventsOf("callback_error").map(({ name, message }) => [name, message]), [
    ["onListen", "mine"],
  ]);
});

Deno.test("serve() checks every server once before it listens", async () => {
  await using up = startUpstream("up");
  await using down = startUpstream("down");
  const address = down.address;
  await down.close();
  await using proxy = await startProxy({
    upstreams: { servers: [address, up.address], healthCheck: { type: "tcp", interval: "1m" } },
  });
  const kinds = proxy.seen.events.map(({ kind }) => kind);
  assertEquals(kinds, ["health", "listening"]);
  assertEquals((await proxy.ask()).text, "up");
  assertEquals((await proxy.seen.untilEntries(1)).attempts, 1);
});

Deno.test("proxy answers requests of one connection in order", async () => {
  await using upstream = startUpstream({
    handler: (request) => new Response(new URL(request.url).pathname),
  });
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  const paths = ["/a", "/b", "/c"];
  await client.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`).join(""));
  const texts = [];
  for (const _ of paths) texts.push((await readAnswer(client)).text);
  assertEquals(texts, paths);
});

Deno.test("proxy serves clients of HTTP/1.0 and closes their connections", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(client)).text, "upstream");
  await client.untilClosed();
});
