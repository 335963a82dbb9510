import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { ResolvedPool } from "../../../lib/config/pool_options.ts";
import { resolveClientLimits } from "../../../lib/config/listen_options.ts";
import { resolveRetries } from "../../../lib/config/retry_options.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";

const PEM_CERT = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

function peersOf(upstreams: unknown) {
  const { pools, defaultPool } = resolveConfig({ upstreams });
  return pools.get(defaultPool)!.servers.map(({ id, peer, weight }) => ({ id, tls: peer.tls, weight }));
}

Deno.test("resolveConfig() fills in every default", () => {
  const config = resolveConfig({ upstreams: ["127.0.0.1:80"] });
  assertEquals(config, {
    listen: [{
      hostname: "0.0.0.0",
      port: 6188,
      engine: "http1",
      limits: {
        headMs: 10_000,
        keepAliveMs: 75_000,
        contentMs: 60_000,
        writeMs: 60_000,
        halfClosedMs: 10_000,
        minContentRate: 240,
        maxRequestsPerConnection: Infinity,
        maxConnections: null,
        maxConnectionsPerClient: Infinity,
        maxHeadBytes: 32_768,
        maxFields: 200,
      },
    }],
    pools: new Map<string, ResolvedPool>([["default", {
      name: "default",
      servers: [{
        id: "127.0.0.1:80",
        peer: { address: { kind: "tcp", hostname: "127.0.0.1", port: 80 }, tls: null },
        weight: 1,
        backup: false,
        tags: [],
        maxInFlight: Infinity,
      }],
      sticky: null,
      balancing: {
        balance: "round-robin",
        key: null,
        loadFactor: Infinity,
        healthCheck: null,
        ejection: {
          consecutiveFailures: 5,
          failureRate: 0.5,
          minRequests: 20,
          windowMs: 10_000,
          baseMs: 30_000,
          maxMs: 300_000,
          maxEjectedPercent: 50,
        },
        slowStart: null,
        panicThreshold: 0,
        maxInFlight: Infinity,
        queue: null,
        discovery: null,
        onHealthChange: null,
      },
      retries: resolveRetries(),
      timeouts: {
        connectMs: 3000,
        tlsMs: 3000,
        responseMs: 30_000,
        idleMs: 60_000,
        eventStreamIdleMs: Infinity,
        totalMs: Infinity,
      },
      transport: {
        kind: "http1",
        connections: {
          maxIdle: 256,
          idleTimeoutMs: 4000,
        },
      },
      webSocket: {
        idleTimeoutMs: Infinity,
        pingIntervalMs: 30_000,
        maxMessageBytes: 16 * 1024 * 1024,
        maxBufferedBytes: 16 * 1024 * 1024,
      },
      bufferBytes: 0,
      way: {
        tls: undefined,
        transport: "auto",
        protocol: "http1",
        proxy: undefined,
        sendProxyProtocol: undefined,
      },
    }]]),
    defaultPool: "default",
    limiter: [],
    routes: [],
    paths: "normalize",
    forward: "received",
    filterSets: [],
    filters: {},
    trustedProxies: null,
    forwarded: { xForwarded: true, forwarded: false, via: false, cdnLoop: true, clientCert: false },
    onListen: null,
    overload: null,
    tracing: null,
    serverTiming: false,
    accessLog: null,
    metrics: true,
    admin: null,
    gracePeriodMs: 30_000,
    webSocketGraceMs: 5000,
    shutdownDelayMs: 0,
    rollback: null,
    workers: 1,
  });
});

Deno.test("resolveConfig() has routes compare and forward paths as the configuration does, unless they say otherwise", () => {
  const pathsOf = (config: object) =>
    resolveConfig({ upstreams: ["a:80"], ...config }).routes.map(({ paths, forward }) => [paths, forward]);
  assertEquals(pathsOf({ routes: [{}, { paths: "raw" }, { paths: "refuse", forward: "normalized" }] }), [
    ["normalize", "received"],
    ["raw", "received"],
    ["refuse", "normalized"],
  ]);
  // What is compared as it stands goes on as it stands.
  assertEquals(pathsOf({ forward: "normalized", routes: [{}, { paths: "raw" }, { forward: "received" }] }), [
    ["normalize", "normalized"],
    ["raw", "received"],
    ["normalize", "received"],
  ]);
  assertEquals(pathsOf({ paths: "raw", routes: [{}, { paths: "normalize", forward: "normalized" }] }), [
    ["raw", "received"],
    ["normalize", "normalized"],
  ]);
});

Deno.test("resolveConfig() takes every form of listen", () => {
  const listenOf = (listen: unknown) => resolveConfig({ listen, upstreams: ["a:80"] }).listen;
  const limits = resolveClientLimits({});
  const any = { hostname: "0.0.0.0", port: 6188, engine: "http1", limits } as const;
  assertEquals(listenOf("localhost:0"), [{ ...any, hostname: "localhost", port: 0 }]);
  assertEquals(listenOf(8080), [{ ...any, port: 8080 }]);
  assertEquals(listenOf({ hostname: "::1" }), [{ ...any, hostname: "::1" }]);
  assertEquals(listenOf({ underscores: "drop" }), [any]);
  assertEquals(listenOf({ underscores: "pass" }), [{ ...any, underscores: "pass" }]);
  assertEquals(listenOf(["[::1]:1", { port: 2 }, 0, 0]), [
    { ...any, hostname: "::1", port: 1 },
    { ...any, port: 2 },
    { ...any, port: 0 },
    { ...any, port: 0 },
  ]);
  const engines = ["auto", "http1", "deno", undefined].map((engine) => listenOf({ engine })[0]?.engine);
  assertEquals(engines, ["http1", "http1", "deno", "http1"]);
  const found =
    listenOf({ timeouts: { head: "1s" }, maxHeadBytes: "1KiB", proxyProtocol: { from: ["unix"] } })[0];
  assertEquals(found?.limits, { ...limits, headMs: 1000, maxHeadBytes: 1024 });
  assertEquals(found?.proxyProtocol?.entries, ["unix"]);
});

Deno.test("resolveConfig() takes fields with underscores where every listener that forwards passes them", () => {
  const config = {
    listen: [{ port: 1, underscores: "pass" }, { port: 2, redirect: "https" }],
    upstreams: { servers: ["a:80"], balance: "fnv-hash", key: "header:x_id" },
    limiter: [{ key: ["ip", "header:x_id"], limit: 1, window: "1s" }],
    routes: [{ match: { headers: { x_id: true } } }],
  };
  assertEquals(resolveConfig(config).limiter.length, 1);
  // A query and a cookie may be called anything.
  const limiter = [{ key: ["query:x_id", "cookie:x_id"], limit: 1, window: "1s" }];
  assertEquals(resolveConfig({ upstreams: ["a:80"], limiter }).limiter.length, 1);
});

Deno.test("resolveConfig() takes every form of a server", () => {
  const plain = { tls: null, weight: 1 };
  const secure = (serverName: string) => ({ tls: { serverName, caCerts: [] }, weight: 1 });
  assertEquals(
    peersOf(["a.example:80", "http://b", "https://c/", "https://[::1]:8443", "unix:/run/d.sock"]),
    [
      { id: "a.example:80", ...plain },
      { id: "b:80", ...plain },
      { id: "c:443", ...secure("c") },
      { id: "[::1]:8443", ...secure("::1") },
      { id: "unix:/run/d.sock", ...plain },
    ],
  );
  assertEquals(peersOf([{ address: "a:1", weight: 65535 }, { address: "b:1", weight: 0 }]), [
    { id: "a:1", tls: null, weight: 65535 },
    { id: "b:1", tls: null, weight: 0 },
  ]);
});

Deno.test("resolveConfig() lays TLS options of a server over those of its pool", () => {
  const tls = { serverName: "pool.example", caCerts: [PEM_CERT] };
  const servers = [
    "a:1",
    { address: "b:1", tls: true },
    { address: "c:1", tls: { serverName: "c.example" } },
    { address: "d:1", tls: false },
    "https://e",
  ];
  assertEquals(peersOf({ servers, tls }).map((server) => server.tls), [
    tls,
    tls,
    { serverName: "c.example", caCerts: [PEM_CERT] },
    null,
    tls,
  ]);
  assertEquals(peersOf({ servers: ["a:1", "b:1"], tls: true }).map((server) => server.tls?.serverName), [
    "a",
    "b",
  ]);
});

Deno.test("resolveConfig() takes pools by name, with a default among several", () => {
  const a = { servers: ["a:80"] };
  const b = {
    servers: ["b:80"],
    healthCheck: { type: "tcp", interval: "5s" },
    timeouts: { connect: 250, total: "2m" },
  };
  const only = resolveConfig({ upstreams: { api: a } });
  assertEquals([only.defaultPool, ...only.pools.keys()], ["api", "api"]);
  const several = resolveConfig({ upstreams: { api: a, default: b } });
  assertEquals([several.defaultPool, ...several.pools.keys()], ["default", "api", "default"]);
  const { balancing, timeouts } = several.pools.get("default")!;
  assertEquals([balancing.healthCheck?.intervalMs, timeouts.connectMs, timeouts.idleMs, timeouts.totalMs], [
    5000,
    250,
    60_000,
    120_000,
  ]);
  // A pool may be called like an option, as long as it is a pool.
  assertEquals([...resolveConfig({ upstreams: { server: a } }).pools.keys()], ["server"]);
  const found = { discovery: () => Promise.resolve([]) };
  assertEquals([...resolveConfig({ upstreams: { queue: found } }).pools.keys()], ["queue"]);
});

Deno.test("resolveConfig() takes a pool that has only servers as an array, by name too", () => {
  const short = resolveConfig({
    upstreams: { default: ["a:80", { address: "b:80", weight: 2 }], next: ["c:80"] },
  });
  const long = resolveConfig({
    upstreams: {
      default: { servers: ["a:80", { address: "b:80", weight: 2 }] },
      next: { servers: ["c:80"] },
    },
  });
  assertEquals([...short.pools], [...long.pools]);
});

Deno.test("resolveConfig() takes a limit and the filters", () => {
  const limit = (key: string) => key.length;
  const logging = () => {};
  const onListen = () => {};
  const config = resolveConfig({
    upstreams: ["a:80"],
    limiter: {
      key: ["ip", "header:appid"],
      limit,
      window: "1m",
      name: "per app",
      onMissingKey: "ip",
      headers: false,
    },
    logging,
    onListen,
    gracePeriod: 0,
    requestFilter: undefined,
  });
  const [policy] = config.limiter;
  assertEquals([policy?.name, policy?.windowMs, policy?.headers], ["per app", 60_000, []]);
  assertStrictEquals(policy?.limit, limit);
  assertEquals(Object.keys(config.filters), ["logging"]);
  assertStrictEquals(config.filters.logging, logging);
  assertStrictEquals(config.onListen, onListen);
  assertEquals(config.gracePeriodMs, 0);
});

Deno.test("resolveConfig() chooses the transport of a pool", () => {
  const planOf = (pool: Record<string, unknown>) =>
    resolveConfig({ upstreams: { servers: ["https://a"], ...pool } }).pools.get("default")!.transport;
  const kinds = [
    {},
    { transport: "auto" },
    { transport: "http1" },
    { transport: "fetch" },
    { protocol: "http1" },
    { protocol: "h2" },
    { protocol: "h2", transport: "fetch" },
    { proxy: "http://p:3128" },
  ];
  assertEquals(kinds.map((pool) => planOf(pool).kind), [
    "http1",
    "http1",
    "http1",
    "fetch",
    "http1",
    "h2",
    "fetch",
    "fetch",
  ]);
  const connections = { maxIdle: 2, idleTimeout: "1m" } as const;
  assertEquals(planOf({ protocol: "h2", transport: "fetch", connections }), {
    kind: "fetch",
    protocol: "h2",
    proxy: null,
    connections: { maxIdle: 2, idleTimeoutMs: 60_000 },
  });
  assertEquals(planOf({ protocol: "h2", connections: { ...connections, maxStreams: 8 } }), {
    kind: "h2",
    connections: { maxIdle: 2, idleTimeoutMs: 60_000, maxStreams: 8 },
  });
  assertEquals(planOf({ proxy: "socks5://me:p%40ss@[::1]:1080/", transport: "fetch" }), {
    kind: "fetch",
    protocol: "http1",
    proxy: {
      scheme: "socks5",
      hostname: "::1",
      port: 1080,
      credentials: { username: "me", password: "p@ss" },
    },
    connections: { maxIdle: 256, idleTimeoutMs: 4000 },
  });
  assertEquals(planOf({ connections: { maxIdle: 0, idleTimeout: 100 } }), {
    kind: "http1",
    connections: { maxIdle: 0, idleTimeoutMs: 100 },
  });
});

Deno.test("resolveConfig() freezes what it returns and leaves alone what it is given", () => {
  const options = { upstreams: { servers: [{ address: "https://a", tls: { caCerts: [PEM_CERT] } }] } };
  const before = structuredClone(options);
  const config = resolveConfig(options);
  assertEquals(options, before);
  assert(!Object.isFrozen(options.upstreams));
  const pool = config.pools.get("default")!;
  const { peer } = pool.servers[0]!;
  for (const part of [config, config.listen, config.listen[0], config.limiter, config.filters]) {
    assert(Object.isFrozen(part));
  }
  for (
    const part of [
      pool,
      pool.servers,
      pool.servers[0],
      pool.timeouts,
      pool.transport,
      pool.way,
      peer,
      peer.address,
      peer.tls,
    ]
  ) {
    assert(Object.isFrozen(part));
  }
  assert(Object.isFrozen(peer.tls?.caCerts));
});

Deno.test("resolveConfig() lets nobody wait in the queue longer than the whole exchange may take", () => {
  const queueOf = (queue: unknown, total?: string) => {
    const { pools } = resolveConfig({ upstreams: { servers: ["a:80"], queue, timeouts: { total } } });
    return pools.get("default")!.balancing.queue;
  };
  assertEquals(queueOf({}), { size: 100, timeoutMs: 1000 });
  assertEquals(queueOf({ size: 5, timeout: "1h" }, "400ms"), { size: 5, timeoutMs: 400 });
  assertEquals(queueOf({ timeout: "1s" }, "2s"), { size: 100, timeoutMs: 1000 });
});
