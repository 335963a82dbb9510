import { assertEquals, assertThrows } from "@std/assert";
import { LineBytes } from "../../../lib/observe/line_bytes.ts";
import { wholeJsonFormat } from "../../../lib/observe/access_line.ts";
import { readTrace, TraceError } from "../../../lib/simulator/simulated_request.ts";
import type { AccessEntry } from "../../../lib/observe/observer.ts";
import { accessEntry } from "../../support/access_entry.ts";

const whole = wholeJsonFormat();
function formatAccessJson(entry: AccessEntry, time: string): string {
  const out = new LineBytes();
  whole(out, entry, null, Date.parse(time));
  return new TextDecoder().decode(out.written);
}

Deno.test("readTrace() reads requests in the order of time", () => {
  const text = [
    '{"at": "1.5s", "ip": "192.0.2.7", "method": "POST", "target": "/a?b", "host": "h", "headers": {"x": "1"}}',
    "",
    '{"at": 20, "duration": "3s", "status": 404, "bytes": 12, "something": "else"}',
  ].join("\n");
  assertEquals(readTrace(text, "t"), [
    { atMs: 20, durationMs: 3000, status: 404, bytes: 12 },
    { atMs: 1500, ip: "192.0.2.7", method: "POST", target: "/a?b", host: "h", headers: { x: "1" } },
  ]);
});

Deno.test("readTrace() reads the access log of the proxy, and passes over its other lines", () => {
  const entry = accessEntry({
    requestId: "7",
    clientIp: "192.0.2.1",
    method: "GET",
    target: "/a",
    status: 200,
    route: null,
    server: null,
    pool: null,
    durationMs: 12.5,
    bytesSent: 5,
    attempts: 1,
    limitedBy: null,
    wouldLimit: [],
    error: null,
  });
  const log = [
    '{"time":"2026-01-01T00:00:00.000Z","level":"info","kind":"listening","message":"x"}',
    formatAccessJson(entry, "2026-01-01T00:00:01.250Z"),
    formatAccessJson(entry, "2026-01-01T00:00:01.000Z"),
  ];
  const request = {
    ip: "192.0.2.1",
    method: "GET",
    host: "h",
    target: "/a",
    durationMs: 12.5,
    status: 200,
    bytes: 5,
  };
  assertEquals(readTrace(log.join("\n"), "t"), [{ atMs: 0, ...request }, { atMs: 250, ...request }]);
});

Deno.test("readTrace() takes fields of requests from an access log, and those of the line itself before them", () => {
  const line = {
    time: "2026-01-01T00:00:01.000Z",
    "header:appid": "x",
    "header:none": null,
    "header:not a name": "x",
    userAgent: "curl/8",
    referer: null,
  };
  const read = (more: object) => readTrace(JSON.stringify({ ...line, ...more }), "t")[0]?.headers;
  assertEquals(read({}), { "user-agent": "curl/8", appid: "x" });
  assertEquals(read({ headers: { appid: "y" } }), { "user-agent": "curl/8", appid: "y" });
});

Deno.test("readTrace() says of each line that cannot be read what is wrong with it", () => {
  const lines = [
    "nothing",
    "[]",
    "{}",
    '{"at": "soon"}',
    '{"at": 1, "target": "a"}',
    '{"at": 1, "headers": {"a": 1}}',
    '{"at": 1, "duration": "x"}',
    '{"at": 1, "method": "G T"}',
    '{"at": 1}',
  ];
  const error = assertThrows(() => readTrace(lines.join("\n"), "trace.jsonl"), TraceError);
  const moment = 'needs "at" (such as "1.5s", or milliseconds) or "time" (a date)';
  assertEquals(error.message.split("\n  "), [
    "Cannot replay trace.jsonl: 8 lines",
    "line 1: is not JSON; a trace has one JSON object in each line, as a log with --log-format json has",
    "line 2: is not an object",
    `line 3: ${moment}`,
    `line 4: ${moment}`,
    'line 5: "target" must be a path that begins with "/", received "a"',
    'line 6: "headers" must be an object of texts',
    'line 7: "duration" must be a duration such as "20ms", received "x"',
    'line 8: "method" must be a method, received "G T"',
  ]);
});
