import { assert, assertEquals } from "@std/assert";
import type { ServerStatus, Status } from "../../../lib/admin/status.ts";
import { formatStatus } from "../../../lib/cli/format_status.ts";

const TIME = "2026-01-01T00:01:00.000Z";

function server(address: string, reason: string | null): ServerStatus {
  return {
    address,
    state: reason === null ? "up" : "unhealthy",
    reason,
    lastCheck: null,
    backup: false,
    effectiveWeight: 1,
    inFlight: 0,
    maxInFlight: null,
    perSecond: 0,
    latency: null,
    codes: {},
    failures: 0,
    since: "2026-01-01T00:00:00.000Z",
  } as unknown as ServerStatus;
}

function linesOf(columns: number): string[] {
  const status = {
    time: TIME,
    version: "1",
    state: "serving",
    ready: true,
    addresses: [],
    uptimeMs: 0,
    configuration: { generation: 1 },
    requests: { perSecond: 0, codes: {}, latency: null, refused: 0, inFlight: 0 },
    workers: [{ cpu: 0, rssBytes: 0 }],
    limits: [],
    pools: [{
      name: "default",
      available: 1,
      perSecond: 0,
      panic: false,
      waiting: 0,
      servers: [server("127.0.0.1:9001", null), server("127.0.0.1:9002", "connection refused")],
    }],
  } as unknown as Status;
  return formatStatus(status, { columns, colored: false }).slice(5);
}

Deno.test("formatStatus() shows why a server is down beside it, and below it where the terminal is narrow", () => {
  const wide = linesOf(Infinity);
  assertEquals(wide.map((line) => line.trim().replaceAll(/ {2,}/g, "|")), [
    "STATE|SERVER|WEIGHT|IN FLIGHT|REQ/S|P50|P99|5XX|FAILED|FOR|WHY",
    "up|127.0.0.1:9001|1|0|0|-|-|0|0|1m",
    "unhealthy|127.0.0.1:9002|1|0|0|-|-|0|0|1m|connection refused",
  ]);
  const narrow = linesOf(80);
  assertEquals(narrow.map((line) => line.trim().replaceAll(/ {2,}/g, "|")), [
    "STATE|SERVER|IN FLIGHT|REQ/S|P50|P99|5XX|FAILED|FOR",
    "up|127.0.0.1:9001|0|0|-|-|0|0|1m",
    "unhealthy|127.0.0.1:9002|0|0|-|-|0|0|1m",
    "connection refused",
  ]);
  assert(narrow.every((line) => line.length <= 80 && !line.includes("…")));
  assertEquals(linesOf(40).at(-1), "      connection refused");
});
