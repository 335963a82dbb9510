import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { RedisStoreOptions } from "../../../lib/limiter/redis_store_options.ts";
import { redisTestWith } from "../../support/redis_server.ts";
import { RedisTlsServer } from "../../support/redis_tls_server.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { TestCa, testCa } from "../../support/test_ca.ts";

/** All that a user of the store has to be allowed. */
const ENOUGH = ["~{lbproxy}:*", "-@all", "+eval", "+evalsha", "+time", "+get", "+mget", "+set", "+del"];

function limitedProxy(upstream: { address: string }, store: Partial<RedisStoreOptions>): Promise<TestProxy> {
  return startProxy({
    upstreams: [upstream.address],
    limiter: {
      key: "header:id",
      limit: 1,
      window: "1h",
      store: { type: "redis", url: "redis://unused", timeout: "5s", onStoreError: "closed", ...store },
    },
  });
}

const asks = async (proxy: TestProxy, count: number): Promise<number[]> => {
  const statuses: number[] = [];
  for (let i = 0; i < count; i++) statuses.push((await proxy.ask("GET /", ["id: a"])).status);
  return statuses;
};

redisTestWith(
  () => RedisTlsServer.start(),
  "serve() counts in Redis over TLS, as a user who may do no more than it needs",
  async ({ plain, tlsPort, caCert }) => {
    assertEquals(await plain.command("ACL", "SETUSER", "proxy", "on", ">p@ss/word", ...ENOUGH), "+OK\r\n");
    await using upstream = startUpstream();
    const url = `rediss://proxy:p%40ss%2Fword@127.0.0.1:${tlsPort}`;
    await using proxy = await limitedProxy(upstream, { url, tls: { caCerts: [caCert] } });
    assertEquals(await asks(proxy, 2), [200, 429]);
    assert(await plain.calls("eval") >= 2, "counted there");
    const { events } = proxy.seen;
    assertEquals(proxy.seen.eventsOf("limiter_store").map(({ available }) => available), [true]);
    assertEquals(JSON.stringify(events).includes("word"), false, JSON.stringify(events));
  },
);

redisTestWith(
  () => RedisTlsServer.start({ asksForCertificates: true, names: ["redis.test"] }),
  "serve() shows Redis a certificate, and checks the server's by the name that it was told",
  async ({ plain, tlsPort, caCert }) => {
    await using upstream = startUpstream();
    const pair = await (await testCa()).issue({ names: ["proxy"], client: true });
    const url = `rediss://127.0.0.1:${tlsPort}`;
    const tls = { serverName: "redis.test", caCerts: [caCert], ...pair };
    await using proxy = await limitedProxy(upstream, { url, tls });
    assertEquals(await asks(proxy, 2), [200, 429]);
    assert(await plain.calls("eval") >= 2, "counted there");
  },
);

redisTestWith(
  () => RedisTlsServer.start({ asksForCertificates: true }),
  "serve() goes on when Redis asks for a certificate that it does not have",
  async ({ tlsPort, caCert }) => {
    await using upstream = startUpstream();
    const url = `rediss://127.0.0.1:${tlsPort}`;
    await using proxy = await limitedProxy(upstream, { url, tls: { caCerts: [caCert] } });
    assertEquals(proxy.seen.eventsOf("limiter_store").map(({ available }) => available), [false]);
    assertEquals(await asks(proxy, 2), [503, 503]);
  },
);

/** What is wrong, the store that is configured, and what the log says of it. */
const REFUSED: readonly [
  what: string,
  store: (server: RedisTlsServer) => Partial<RedisStoreOptions> | Promise<Partial<RedisStoreOptions>>,
  reason: string,
][] = [
  [
    "an authority that is not trusted",
    ({ tlsPort }) => ({ url: `rediss://127.0.0.1:${tlsPort}` }),
    "store.tls.caCerts names authorities to trust",
  ],
  [
    "another authority",
    async ({ tlsPort }) => ({
      url: `rediss://127.0.0.1:${tlsPort}`,
      tls: { caCerts: [(await TestCa.create("Another")).cert] },
    }),
    "store.tls.caCerts names authorities to trust",
  ],
  [
    "a certificate for another name",
    ({ tlsPort, caCert }) => ({ url: `rediss://localhost:${tlsPort}`, tls: { caCerts: [caCert] } }),
    "does not match certificate's altnames: Host: localhost.",
  ],
  [
    "a wrong password",
    ({ plain }) => ({ url: `redis://proxy:wrong@127.0.0.1:${plain.port}` }),
    "WRONGPASS invalid username-password pair or user is disabled",
  ],
  [
    "a user who may not run scripts",
    ({ plain }) => ({ url: `redis://reader:word@127.0.0.1:${plain.port}` }),
    "NOPERM",
  ],
  [
    "a user who may not write",
    ({ plain }) => ({ url: `redis://writer:word@127.0.0.1:${plain.port}` }),
    "script",
  ],
  [
    "a database that there is not",
    ({ plain }) => ({ url: `redis://127.0.0.1:${plain.port}/99` }),
    "DB index is out of range",
  ],
  [
    "no TLS where there has to be",
    ({ tlsPort }) => ({ url: `redis://127.0.0.1:${tlsPort}` }),
    "a server with TLS is rediss://",
  ],
  [
    "TLS where there is none",
    ({ plain }) => ({ url: `rediss://127.0.0.1:${plain.port}` }),
    "a server without TLS is redis://",
  ],
];

for (const [what, store, reason] of REFUSED) {
  redisTestWith(
    () => RedisTlsServer.start(),
    `serve() says why it does not count in Redis, and does what onStoreError says: ${what}`,
    async (server) => {
      const { plain } = server;
      await plain.command("ACL", "SETUSER", "proxy", "on", ">word", "~*", "+@all");
      await plain.command("ACL", "SETUSER", "reader", "on", ">word", "~*", "+get");
      await plain.command("ACL", "SETUSER", "writer", "on", ">word", ...ENOUGH, "-set");
      await using upstream = startUpstream();
      const options = await store(server);
      await using proxy = await limitedProxy(upstream, options);
      const [event] = proxy.seen.eventsOf("limiter_store");
      assertEquals(event?.available, false);
      assertStringIncludes(event!.reason!, reason);
      assertEquals(await asks(proxy, 1), [503]);
      await using local = await limitedProxy(upstream, { ...options, onStoreError: "local" });
      assertEquals(await asks(local, 2), [200, 429]);
      assertEquals(proxy.seen.eventsOf("limiter_store").length, 1, "told of once");
    },
  );
}

redisTestWith(
  () => RedisTlsServer.start(),
  "serve() without the password that Redis wants says so, and counts once it is wanted no more",
  async ({ plain }) => {
    await plain.command("CONFIG", "SET", "requirepass", "hunter2");
    await using upstream = startUpstream();
    await using proxy = await limitedProxy(upstream, { url: plain.url });
    assertEquals(proxy.seen.eventsOf("limiter_store").map(({ available, reason }) => [available, reason]), [
      [false, "NOAUTH: it wants a password, store.url has none"],
    ]);
    using admin = await Deno.connect({ hostname: "127.0.0.1", port: plain.port });
    await admin.write(new TextEncoder().encode('AUTH hunter2\r\nCONFIG SET requirepass ""\r\n'));
    const { seen } = proxy;
    await seen.until(() => seen.eventsOf("limiter_store").at(-1)!.available);
    assertEquals(await asks(proxy, 2), [200, 429]);
  },
);
