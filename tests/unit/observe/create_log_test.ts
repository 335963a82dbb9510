import { assert, assertEquals } from "@std/assert";
import type { AccessEntry } from "../../../lib/observe/observer.ts";
import { createLog } from "../../../lib/observe/create_log.ts";
import type { ProxyEvent } from "../../../lib/observe/events.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { MemorySink } from "../../support/memory_sink.ts";
import { accessEntry } from "../../support/access_entry.ts";

const TIME = "2026-01-01T00:00:00.000Z";
const ENTRY: AccessEntry = accessEntry({
  requestId: "7",
  clientIp: "192.0.2.1",
  method: "GET",
  target: "/",
  status: 200,
  route: null,
  server: "a:80",
  pool: "default",
  durationMs: 1,
  bytesSent: 5,
  attempts: 1,
  limitedBy: null,
  wouldLimit: [],
  error: null,
});
const DOWN = {
  kind: "health",
  pool: "default",
  server: "a:80",
  healthy: false,
  reason: "connection refused",
  healthyServers: 1,
  totalServers: 2,
} as const;
const FAILURE = {
  kind: "request_failure",
  requestId: "7",
  method: "GET",
  target: "/x\n",
  status: 502,
  code: "connection_refused",
  message: "Cannot connect",
  server: "a:80",
  source: "upstream",
  stack: null,
} as const;

/** A line for each kind of event, the way text logs show it. */
const EVENTS: readonly [event: ProxyEvent, line: string][] = [
  [
    { kind: "listening", addresses: ["0.0.0.0:80", "[::]:81"], pid: 7 },
    "info Listening on 0.0.0.0:80, [::]:81 (process 7)",
  ],
  [
    { kind: "config_warning", message: "limiter.window is 60 milliseconds" },
    "warn The configuration: limiter.window is 60 milliseconds",
  ],
  [DOWN, "warn Server a:80 of pool default is unhealthy: connection refused (1 of 2 healthy)"],
  [
    { ...DOWN, healthy: true, reason: null, healthyServers: 2 },
    "info Server a:80 of pool default is healthy (2 of 2 healthy)",
  ],
  [FAILURE, "error GET /x\\n failed at a:80 with 502 connection_refused: Cannot connect id=7"],
  [
    {
      ...FAILURE,
      server: null,
      status: 500,
      code: "proxy_internal_error",
      source: "proxy",
      stack: "E: x\n  at y\x1b",
    },
    "error GET /x\\n failed with 500 proxy_internal_error: Cannot connect id=7\n    E: x\n    at y\\u001b",
  ],
  [
    { ...FAILURE, status: 400, source: "client" },
    "debug GET /x\\n failed at a:80 with 400 connection_refused: Cannot connect id=7",
  ],
  [
    { kind: "limiter_overflow", policy: "default", capacity: 10 },
    "warn Limiter default holds 10 keys and is full: further keys evict those that have used least",
  ],
  [
    { kind: "limiter_store", address: "redis://a", available: false, reason: "LOADING", dropped: 0 },
    "error Cannot count limits in redis://a: LOADING",
  ],
  [
    { kind: "limiter_store", address: "redis://a", available: true, reason: null, dropped: 0 },
    "info Limits are counted in redis://a",
  ],
  [
    { kind: "limiter_store", address: "redis://a", available: true, reason: null, dropped: 2 },
    "warn Limits are counted in redis://a; 2 corrections of counts were lost: too many to keep",
  ],
  [
    {
      kind: "listener_error",
      address: "0.0.0.0:80",
      message: "too many open files",
      openDescriptors: 256,
      runningRequests: 1,
    },
    "error Cannot accept connections on 0.0.0.0:80: too many open files (256 open descriptors, 1 running request); trying again until it can",
  ],
  [
    {
      kind: "listener_error",
      address: "0.0.0.0:80",
      message: "too many open files",
      openDescriptors: null,
      runningRequests: 0,
    },
    "error Cannot accept connections on 0.0.0.0:80: too many open files (0 running requests); trying again until it can",
  ],
  [
    { kind: "listener_recovered", address: "0.0.0.0:80", afterMs: 1234 },
    "info Accepting connections on 0.0.0.0:80 again after 1234ms",
  ],
  [
    { kind: "health_check_error", pool: "default", server: "a:80", message: "too many open files" },
    "error Cannot check server a:80 of pool default: too many open files; its health stays as it was",
  ],
  [{ kind: "callback_error", name: "logging", message: "x", stack: null }, "error logging threw: x"],
  [
    { kind: "shutdown", reason: "SIGTERM", runningRequests: 1, delayMs: 0, gracePeriodMs: 30_000 },
    "info Stopping (SIGTERM): 1 running request may take 30s to finish",
  ],
  [
    { kind: "shutdown", reason: "SIGTERM", runningRequests: 0, delayMs: 0, gracePeriodMs: 30_000 },
    "info Stopping (SIGTERM): no request is running",
  ],
  [{ kind: "stopped", abandonedRequests: 0 }, "info Stopped: all requests finished"],
  [{ kind: "stopped", abandonedRequests: 2 }, "warn Stopped: 2 requests did not finish in time"],
];

function openLog(options: Omit<Parameters<typeof createLog>[0], "clock"> = {}) {
  const stdout = new MemorySink();
  const stderr = new MemorySink();
  const clock = new FakeClock();
  return { log: createLog({ stdout, stderr, clock, ...options }), stdout, stderr, clock };
}

Deno.test("createLog() says each event in a line of its own", () => {
  const { log, stderr } = openLog({ level: "debug" });
  for (const [event] of EVENTS) log.observer.event(event);
  log[Symbol.dispose]();
  assertEquals(stderr.text, EVENTS.map(([, line]) => `${TIME} ${line}\n`).join(""));
});

Deno.test("createLog() writes events as JSON with all they tell", () => {
  const { log, stderr } = openLog({ level: "debug", format: "json" });
  for (const [event] of EVENTS) log.observer.event(event);
  log[Symbol.dispose]();
  const objects = stderr.lines.map((line) => JSON.parse(line));
  assertEquals(objects.length, EVENTS.length);
  objects.forEach(({ time, level, message, ...fields }, index) => {
    const [event, line] = EVENTS[index]!;
    assertEquals([time, level], [TIME, line.slice(0, line.indexOf(" "))]);
    const { message: detail, ...told } = { message: undefined, ...event };
    assertEquals(fields, detail === undefined ? told : { detail, ...told });
    assert(message.length > 5);
  });
});

/** Controls, C1 controls among them, and marks that turn the direction of writing: a terminal obeys them. */
const HOSTILE = "\x00\x1b[31m\x7f\x85\x9b31m\u2028\u202e\u2066";
// deno-lint-ignore no-control-regex
const HARMFUL = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

Deno.test("createLog() writes no text of a client's as it is, whatever it stands in", () => {
  const texts = {
    ...FAILURE,
    requestId: HOSTILE,
    method: HOSTILE,
    target: HOSTILE,
    message: HOSTILE,
    stack: HOSTILE,
  };
  const said = { kind: "request_log", level: "info", requestId: HOSTILE, message: HOSTILE } as const;
  const events: ProxyEvent[] = [
    { ...texts, source: "proxy" },
    { ...said, fields: { [HOSTILE]: { deep: [HOSTILE] } } },
    { kind: "callback_error", name: HOSTILE, message: HOSTILE, stack: HOSTILE },
  ];
  const entry = {
    ...ENTRY,
    requestId: HOSTILE,
    clientIp: HOSTILE,
    method: HOSTILE,
    target: HOSTILE,
    error: HOSTILE,
  };
  for (const format of ["text", "json"] as const) {
    const { log, stdout, stderr } = openLog({ format });
    for (const event of events) log.observer.event(event);
    log.observer.access(entry);
    log[Symbol.dispose]();
    for (const { text, lines } of [stdout, stderr]) {
      assert(!HARMFUL.test(text), JSON.stringify(text));
      if (format === "json") {
        for (const line of lines) assert(JSON.stringify(JSON.parse(line)).includes("\x9b"));
      }
    }
  }
});

Deno.test("createLog() writes what filters say also where it cannot be JSON", () => {
  const { log, stderr } = openLog({ format: "json" });
  const round: Record<string, unknown> = {};
  round.itself = round;
  const line = { kind: "request_log", level: "info", requestId: "7", message: "seen" } as const;
  log.observer.event({ ...line, fields: { n: 5n } });
  log.observer.event({ ...line, fields: round });
  log[Symbol.dispose]();
  for (const written of stderr.lines) {
    const { requestId, message, fields } = JSON.parse(written);
    assertEquals([requestId, message], ["7", "seen"]);
    assert(String(fields).startsWith("cannot be written: "), fields);
  }
  assertEquals(stderr.lines.length, 2);
});

Deno.test("createLog() calls a request the same in all lines", () => {
  const entry = { ...ENTRY, requestId: "me" };
  const events: ProxyEvent[] = [
    { ...FAILURE, requestId: "me" },
    { kind: "request_log", level: "info", requestId: "me", message: "seen", fields: {} },
  ];
  const json = openLog({ format: "json" });
  const text = openLog();
  for (const { log } of [json, text]) {
    for (const event of events) log.observer.event(event);
    log.observer.access(entry);
    log[Symbol.dispose]();
  }
  const objects = [...json.stdout.lines, ...json.stderr.lines].map((line) => JSON.parse(line));
  assertEquals(objects.map(({ requestId, id }) => [requestId, id]), objects.map(() => ["me", undefined]));
  for (const line of [...text.stdout.lines, ...text.stderr.lines]) assert(line.includes(" id=me"), line);
});

Deno.test("createLog() writes requests to stdout and everything else to stderr", () => {
  const { log, stdout, stderr } = openLog();
  log.observer.event(DOWN);
  log.observer.access(ENTRY);
  log[Symbol.dispose]();
  assertEquals([stdout.lines.length, stderr.lines.length], [1, 1]);
  assert(stdout.text.includes(" access GET "));
});

Deno.test("createLog() logs nothing below its level", () => {
  const counts = (["debug", "info", "warn", "error"] as const).map((level) => {
    const { log, stdout, stderr } = openLog({ level });
    for (const [event] of EVENTS) log.observer.event(event);
    if (log.observer.wantsAccess) log.observer.access(ENTRY);
    log[Symbol.dispose]();
    const events = stderr.lines.filter((line) => line.startsWith(TIME)).length;
    return [level, log.observer.wantsAccess, stdout.lines.length, events];
  });
  assertEquals(counts, [["debug", true, 1, 20], ["info", true, 1, 19], ["warn", false, 0, 12], [
    "error",
    false,
    0,
    7,
  ]]);
});

Deno.test("createLog() writes a thousand requests with one write", async () => {
  const { log, stdout, clock } = openLog();
  for (let i = 0; i < 200; i++) log.observer.access(ENTRY);
  await clock.advance(100);
  assertEquals([stdout.lines.length, stdout.writes.length], [200, 1]);
  for (let i = 0; i < 1000; i++) log.observer.access(ENTRY);
  await log.flush();
  assertEquals(stdout.lines.length, 1200);
  assert(stdout.writes.length <= 6, `${stdout.writes.length} writes`);
  log[Symbol.dispose]();
});

Deno.test("createLog() says in its own format that lines were lost", async () => {
  for (const format of ["text", "json"] as const) {
    const { log, stdout } = openLog({ format });
    stdout.stall();
    const entry = { ...ENTRY, target: "/".padEnd(100_000, "a") };
    for (let i = 0; i < 60; i++) log.observer.access(entry);
    stdout.resume();
    await log.flush();
    const last = stdout.lines.at(-1)!;
    const lost = 60 - (stdout.lines.length - 1);
    assert(lost > 10 && lost < 30);
    const message = `${lost} log lines were lost because their reader is slow`;
    if (format === "text") assertEquals(last, `${TIME} warn ${message}`);
    else assertEquals(JSON.parse(last), { time: TIME, level: "warn", kind: "lost_lines", message, lost });
    log[Symbol.dispose]();
  }
});

Deno.test("createLog() gives a logger for lines of one's own, apart from those of other logs", () => {
  const one = openLog();
  const two = openLog({ format: "json" });
  one.log.logger.info("hello\nworld");
  two.log.logger.warn("hello", { kind: "mine", n: 1 });
  one.log[Symbol.dispose]();
  two.log[Symbol.dispose]();
  assertEquals(one.stderr.text, `${TIME} info hello\\nworld\n`);
  assertEquals(JSON.parse(two.stderr.text), {
    time: TIME,
    level: "warn",
    kind: "mine",
    message: "hello",
    n: 1,
  });
});
