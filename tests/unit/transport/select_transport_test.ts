import { assertEquals } from "@std/assert";
import {
  checkTransport,
  selectTransport,
  type TransportOptions,
} from "../../../lib/transport/select_transport.ts";

Deno.test("selectTransport() takes http1 unless only fetch can do what is asked", () => {
  const cases: [TransportOptions, "http1" | "h2" | "fetch"][] = [
    [{}, "http1"],
    [{ transport: "auto" }, "http1"],
    [{ transport: "http1" }, "http1"],
    [{ protocol: "http1" }, "http1"],
    [{ transport: "fetch" }, "fetch"],
    [{ protocol: "h2" }, "h2"],
    [{ transport: "auto", protocol: "h2" }, "h2"],
    [{ transport: "fetch", protocol: "h2" }, "fetch"],
    [{ protocol: "h2", proxy: "http://a:1" }, "fetch"],
    [{ proxy: "http://a:1" }, "fetch"],
    [{ proxy: "socks5://u:p@a:1" }, "fetch"],
  ];
  for (const [options, kind] of cases) {
    assertEquals(selectTransport(options).kind, kind, JSON.stringify(options));
  }
});

Deno.test("selectTransport() keeps 256 connections for 4 s, unless told otherwise", () => {
  assertEquals(selectTransport(), { kind: "http1", connections: { maxIdle: 256, idleTimeoutMs: 4000 } });
  assertEquals(selectTransport({ protocol: "h2" }), {
    kind: "h2",
    connections: { maxIdle: 256, idleTimeoutMs: 4000, maxStreams: 100 },
  });
  const connections = { maxIdle: 2, idleTimeout: "1m" } as const;
  assertEquals(selectTransport({ connections }), {
    kind: "http1",
    connections: { maxIdle: 2, idleTimeoutMs: 60_000 },
  });
  assertEquals(selectTransport({ transport: "fetch", connections }), {
    kind: "fetch",
    protocol: "http1",
    proxy: null,
    connections: { maxIdle: 2, idleTimeoutMs: 60_000 },
  });
});

Deno.test("checkTransport() refuses http1 for what others can, and says why", () => {
  const cases: [TransportOptions, string][] = [
    [{ transport: "http1", protocol: "h2" }, '"protocol" is "h2"'],
    [{ transport: "http1", proxy: "http://a:1" }, 'there is a "proxy"'],
  ];
  for (const [options, why] of cases) {
    const problems: string[] = [];
    checkTransport(options, (message, ...path) => problems.push(`${path} ${message}`));
    assertEquals(problems.map((problem) => problem.split(/[,;] /)[0]), [
      `transport must not be "http1" where ${why}`,
    ]);
  }
});
