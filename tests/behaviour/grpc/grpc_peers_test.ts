/** Real clients and servers of gRPC; where they are not installed (`deno task grpc`), these are skipped and say so. */

import { assert, assertEquals } from "@std/assert";
import type { ListenOptions } from "../../../lib/config/listen_options.ts";
import { GRPC_LIBRARIES, type GrpcLibrary, GrpcPeer, grpcServer } from "../../support/grpc_peer.ts";
import { startProxy, type TestConfig, type TestProxy } from "../../support/start_proxy.ts";
import { testCa } from "../../support/test_ca.ts";

const PLAIN: ListenOptions = { hostname: "127.0.0.1", port: 0, http2: true, engine: "http1" };
const NAME = "localhost";

/** How a call of a test went. */
interface Outcome {
  readonly code: number;
  readonly details: string;
  readonly messages: Record<string, unknown>[];
  readonly trailers: Record<string, string> | null;
}

/** What became of many calls. */
interface LoadReport {
  readonly faults: string[];
  readonly faulty: number;
  readonly counts: Record<string, number>;
}

/** A test that needs these libraries. */
function peersTest(name: string, needs: readonly GrpcLibrary[], run: () => Promise<void>): void {
  const missing = needs.filter((library) => !GRPC_LIBRARIES.has(library));
  const skipped = missing.length === 0
    ? ""
    : ` (skipped: "deno task grpc" installs gRPC for ${missing.join(", ")})`;
  Deno.test({ name: `gRPC: ${name}${skipped}`, ignore: missing.length > 0, fn: run });
}

function start(config: Omit<TestConfig, "listen">): Promise<TestProxy> {
  return startProxy({ ...config, listen: PLAIN });
}

/** The certificate of the tests in files, and TLS on both sides of a proxy. */
async function securedFolder() {
  const folder = await Deno.makeTempDir();
  const ca = await testCa();
  const issued = await ca.issue({ names: [NAME] });
  const paths = { ca: `${folder}/ca.pem`, cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
  await Promise.all([
    Deno.writeTextFile(paths.ca, ca.cert),
    Deno.writeTextFile(paths.cert, issued.cert),
    Deno.writeTextFile(paths.key, issued.key),
  ]);
  return {
    ...issued,
    caCert: ca.cert,
    paths,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

async function ask(
  library: GrpcLibrary,
  address: string,
  list: readonly { kind: string; asked: Record<string, unknown>; how?: Record<string, unknown> }[],
  more: Record<string, unknown> = {},
): Promise<Outcome[]> {
  await using client = new GrpcPeer(library, { role: "ask", address, list, ...more });
  const outcomes: Outcome[] = [];
  for (const _ of list) outcomes.push(await client.line<Outcome>());
  return outcomes;
}

const CALLS = 1000;

/** How many of so many calls of each of the four kinds have which status: see `load` in the scripts. */
function countsOf(calls: number): Record<string, number> {
  const tenth = 4 * calls / 10;
  const codes = Array.from({ length: calls }, (_, i) => i).filter((i) => i % 10 === 3).map((i) => 5 + i % 3);
  const failed = (code: number) => 4 * codes.filter((each) => each === code).length;
  return { 0: 7 * tenth, 1: tenth, 4: tenth, 5: failed(5), 6: failed(6), 7: failed(7) };
}

const PAIRS: readonly [GrpcLibrary, GrpcLibrary][] = [
  ["node", "node"],
  ["python", "python"],
  ["node", "python"],
  ["python", "node"],
];

for (const [of, by] of PAIRS) {
  const calls = of === by ? CALLS : 100;
  peersTest(`${calls} calls of each kind at once, servers in ${of}, client in ${by}`, [of, by], async () => {
    await using a = await grpcServer(of, { name: "a", workers: 600 });
    await using b = await grpcServer(of, { name: "b", workers: 600 });
    await using proxy = await start({ upstreams: { servers: [a.address, b.address], protocol: "h2" } });
    await using client = new GrpcPeer(by, { role: "load", address: proxy.address, calls });
    const { faults, faulty, counts } = await client.line<LoadReport>();
    assertEquals([faulty, faults], [0, []]);
    assertEquals(counts, countsOf(calls));
  });
}

for (const library of ["node", "python"] as const) {
  peersTest(
    `${CALLS} calls of each kind at once over TLS on both sides, in ${library}`,
    [library],
    async () => {
      await using secured = await securedFolder();
      const { paths, cert, key, caCert } = secured;
      await using server = await grpcServer(library, { name: "a", workers: 1200, tls: paths });
      await using proxy = await startProxy({
        upstreams: {
          servers: [server.address],
          protocol: "h2",
          tls: { serverName: NAME, caCerts: [caCert] },
        },
        listen: { hostname: "127.0.0.1", port: 0, engine: "http1", tls: { cert, key } },
      });
      const options = { role: "load", address: proxy.address, calls: CALLS, ca: paths.ca, authority: NAME };
      await using client = new GrpcPeer(library, options);
      const { faults, faulty, counts } = await client.line<LoadReport>();
      assertEquals([faulty, faults], [0, []]);
      assertEquals(counts, countsOf(CALLS));
    },
  );

  peersTest(`metadata, trailers and the deadline of a call pass, in ${library}`, [library], async () => {
    await using server = await grpcServer(library, { name: "a" });
    await using proxy = await start({ upstreams: { servers: [server.address], protocol: "h2" } });
    const how = library === "node" ? { deadlineMs: 20_000 } : { timeout: 20 };
    const [outcome, failed] = await ask(library, proxy.address, [
      { kind: "Unary", asked: { id: "one" }, how },
      { kind: "Unary", asked: { id: "two", fail: 9 } },
    ]);
    assertEquals([outcome!.code, outcome!.messages[0]!.deadline], [0, true]);
    assertEquals([failed!.code, failed!.details.includes("asked for: two")], [9, true]);
    assertEquals([outcome!.trailers?.["x-server"], failed!.trailers?.["x-server"]], ["a", "a"]);
  });

  peersTest(
    `what the proxy says itself is a status that clients know, in ${library}`,
    [library],
    async () => {
      await using server = await grpcServer(library, { name: "a" });
      await using proxy = await start({
        upstreams: { good: { servers: [server.address], protocol: "h2" }, gone: ["127.0.0.1:1"] },
        routes: [
          {
            match: { path: "/test.Echo/Unary" },
            upstream: "good",
            limiter: { key: "path", limit: 2, window: "1m" },
          },
          { match: { path: "/test.Echo/ServerStream" }, upstream: "gone" },
          { match: { path: "/test.Echo/Both" }, upstream: "good" },
        ],
        requestFilter: ({ url }) => url.endsWith("/Both") ? new Response(null, { status: 403 }) : undefined,
      });
      const unary = { kind: "Unary", asked: { id: "x" } };
      const outcomes = await ask(library, proxy.address, [
        unary,
        unary,
        unary,
        { kind: "ServerStream", asked: { id: "x", count: 1 } },
        { kind: "ClientStream", asked: { id: "x", count: 1 } },
        { kind: "Both", asked: { id: "x", count: 1 } },
      ]);
      assertEquals(outcomes.map(({ code }) => code), [0, 0, 8, 14, 12, 7]);
      assertEquals([outcomes[2]!.details, outcomes[4]!.details], [
        "Too Many Requests",
        "No route matches this request",
      ]);
    },
  );
}

peersTest("calls of one client go to all servers in turn", ["node"], async () => {
  await using a = await grpcServer("node", { name: "a" });
  await using b = await grpcServer("node", { name: "b" });
  await using proxy = await start({ upstreams: { servers: [a.address, b.address], protocol: "h2" } });
  const list = Array.from({ length: 10 }, (_, i) => ({ kind: "Unary", asked: { id: i } }));
  const outcomes = await ask("node", proxy.address, list);
  const names = outcomes.map(({ messages }) => messages[0]!.server);
  assertEquals(names.filter((name) => name === "a").length, 5);
});

peersTest("a call that a client gives up is given up at the server", ["node"], async () => {
  await using server = await grpcServer("node", { name: "a" });
  await using proxy = await start({ upstreams: { servers: [server.address], protocol: "h2" } });
  await using client = new GrpcPeer("node", { role: "hang", address: proxy.address });
  await untilAtServer(server, "calls");
  await client.tell();
  assertEquals(await client.line(), [1, 1, 1, 1]);
  await untilAtServer(server, "cancelled");
});

async function untilAtServer(server: GrpcPeer, what: "calls" | "cancelled"): Promise<void> {
  for (;;) {
    await server.tell();
    const counts = await server.line<Record<"calls" | "cancelled", number>>();
    if (counts[what] >= 4) return;
  }
}

peersTest("a server killed under load costs no unary call that may be repeated", ["node"], async () => {
  await using a = await grpcServer("node", { name: "a" });
  await using b = await grpcServer("node", { name: "b" });
  await using proxy = await start({
    upstreams: {
      servers: [a.address, b.address],
      protocol: "h2",
      // These calls do no harm when they are made twice, which only their owner can know.
      retries: { methods: ["POST"], on: ["connect", "reset"], budget: false },
    },
  });
  await using client = new GrpcPeer("node", { role: "steady", address: proxy.address, lanes: 40 });
  await client.line();
  a.kill();
  await proxy.seen.until(() => {
    const served = proxy.seen.entries.slice(-300);
    return served.length === 300 && served.every(({ server }) => server === b.address);
  });
  await client.tell();
  const { ok, failures, servers } = await client.line<
    { ok: number; failures: unknown; servers: Record<string, number> }
  >();
  assertEquals(failures, {});
  assert(ok > 400 && servers.a! > 0 && servers.b! > 300);
});

peersTest("servers are asked for their health by grpc.health.v1", ["python"], async () => {
  await using good = await grpcServer("python", { name: "a" });
  await using without = GRPC_LIBRARIES.has("node") ? await grpcServer("node", { name: "b" }) : good;
  await using proxy = await start({
    upstreams: {
      servers: [...new Set([good.address, without.address])],
      protocol: "h2",
      healthCheck: { type: "grpc", service: "test.Echo", timeout: "5s" },
    },
  });
  const health = proxy.servers.map(({ id, healthy }) => [id, healthy]);
  assertEquals(health, [[good.address, true], [without.address, false]].slice(0, health.length));
});
