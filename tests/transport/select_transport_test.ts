import { assertEquals, assertThrows } from "@std/assert";
import {
  findTransportProblems,
  selectTransport,
  type TransportOptions,
} from "../../lib/transport/select_transport.ts";

Deno.test("selectTransport() takes http1 unless only fetch can do what is asked", () => {
  const cases: [TransportOptions, "http1" | "fetch"][] = [
    [{}, "http1"],
    [{ transport: "auto" }, "http1"],
    [{ transport: "http1" }, "http1"],
    [{ protocol: "http1" }, "http1"],
    [{ transport: "fetch" }, "fetch"],
    [{ protocol: "h2" }, "fetch"],
    [{ transport: "auto", protocol: "h2" }, "fetch"],
    [{ proxy: "http://a:1" }, "fetch"],
    [{ proxy: "socks5://u:p@a:1" }, "fetch"],
  ];
  for (const [options, kind] of cases) {
    assertEquals(selectTransport(options).kind, kind, JSON.stringify(options));
    assertEquals(findTransportProblems(options), []);
  }
});

Deno.test("selectTransport() keeps connections for 4 s, and limits only those that wait, unless told otherwise", () => {
  const limits = { maxIdle: 256, idleTimeoutMs: 4000, maxQueue: 1024, queueTimeoutMs: 10_000 };
  assertEquals(selectTransport(), { kind: "http1", connections: { maxConnections: Infinity, ...limits } });
  const connections = {
    maxConnections: 8,
    maxIdle: 2,
    idleTimeout: "1m",
    maxQueue: 0,
    queueTimeout: 5,
  } as const;
  assertEquals(selectTransport({ connections }), {
    kind: "http1",
    connections: { maxConnections: 8, maxIdle: 2, idleTimeoutMs: 60_000, maxQueue: 0, queueTimeoutMs: 5 },
  });
});

Deno.test("selectTransport() refuses what the transport asked for cannot do, and findTransportProblems() says where", () => {
  const cases: [TransportOptions, string][] = [
    [{ transport: "http1", protocol: "h2" }, "transport"],
    [{ transport: "http1", proxy: "http://a:1" }, "transport"],
    [{ transport: "fetch", connections: { maxConnections: 1 } }, "connections.maxConnections"],
    [{ protocol: "h2", connections: { maxQueue: 1 } }, "connections.maxQueue"],
    [{ proxy: "http://a:1", connections: { queueTimeout: "1s" } }, "connections.queueTimeout"],
  ];
  for (const [options, where] of cases) {
    assertEquals(findTransportProblems(options).map(({ path }) => path.join(".")), [where]);
    assertThrows(() => selectTransport(options), TypeError, `"${where}"`);
  }
});
