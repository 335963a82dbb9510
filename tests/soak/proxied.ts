/**
 * The proxy of the soak in a process of its own: `proxied.ts ENGINE LEAK GOOD SERVER...`. Writes where it listens, and at each line of
 * its input what it has counted so far.
 */

import { serve } from "../../lib/server/serve.ts";
import type { EngineName } from "../../lib/config/listen_options.ts";
import type { AccessEntry } from "../../lib/observe/observer.ts";
import type { ProxyEvent } from "../../lib/observe/events.ts";
import { TextLineStream } from "../support/text_lines.ts";

/** What is told at each line. */
export interface Counts {
  /** Requests that have arrived, and those that were logged. */
  readonly begun: number;
  readonly settled: number;
  /** Requests that were logged more than once. */
  readonly twice: number;
  /** Lines of the access log. */
  readonly entries: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly events: Readonly<Record<string, number>>;
  /** What functions of the configuration and the proxy have thrown. */
  readonly errors: readonly string[];
  /** Requests that run, those at each server, and what `/metrics` says below zero. */
  readonly running: Readonly<Record<string, number>>;
  readonly negative: readonly string[];
  readonly memory: Deno.MemoryUsage;
  /** Files and sockets that are open. */
  readonly descriptors: number;
}

const MOST_ERRORS = 20;
const ARRIVED = "lbproxy_requests_received_total";
const RUNNING =
  /^(lbproxy_(?:requests_in_flight|websockets_open|upstream_in_flight|(?:upstream|overload)_queue_length|listener_connections)(?:\{[^}]*\})?) (\S+)$/;
const [engine, leak, good, ...servers] = Deno.args;
const leakBytes = Number(leak);
const leaked: Uint8Array[] = [];

let settled = 0;
const logged = new WeakSet<object>();
let twice = 0;
let entries = 0;
const statuses: Record<string, number> = {};
const events: Record<string, number> = {};
const errors: string[] = [];

function note(error: string): void {
  if (errors.length < MOST_ERRORS) errors.push(error);
}

const observer = {
  wantsAccess: true,
  access({ status }: AccessEntry): void {
    entries++;
    statuses[status] = (statuses[status] ?? 0) + 1;
  },
  event(event: ProxyEvent): void {
    events[event.kind] = (events[event.kind] ?? 0) + 1;
    if (event.kind === "callback_error") note(JSON.stringify(event));
  },
};
globalThis.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  note(String(event.reason));
});
globalThis.addEventListener("error", (event) => {
  event.preventDefault();
  note(String(event.error));
});

const proxy = await serve({
  listen: { hostname: "127.0.0.1", port: 0, engine: engine as EngineName },
  upstreams: {
    steady: [good!],
    default: {
      servers,
      maxInFlight: 200,
      queue: { size: 20, timeout: "200ms" },
      timeouts: { connect: "500ms", response: "500ms", idle: "500ms", total: "5s" },
      ejection: { baseTime: "500ms", maxTime: "2s" },
      healthCheck: { type: "tcp", interval: "500ms" },
      webSocket: { idleTimeout: "2s", pingInterval: "500ms" },
    },
  },
  routes: [{ match: { path: "/steady/*" }, upstream: "steady" }, { upstream: "default" }],
  overload: { maxInFlight: 400, queue: { size: 50, timeout: "200ms" } },
  limiter: [
    { name: "rate", key: "header:user", limit: 50, window: "1s", algorithm: "token-bucket" },
    { name: "places", key: "header:user", limit: 10, algorithm: "concurrency", keepAlive: true },
    {
      name: "bytes",
      key: "header:user",
      limit: 5_000_000,
      window: "1s",
      charge: ({ bytesSent }) => bytesSent,
    },
  ],
  requestFilter: (request) =>
    request.url.endsWith("/filtered") ? new Response("here", { status: 200 }) : undefined,
  responseBodyFilter: (body, { target }) =>
    target.endsWith("/through") ? body.pipeThrough(new TransformStream()) : undefined,
  logging: (ctx) => {
    settled++;
    if (leakBytes > 0) leaked.push(new Uint8Array(leakBytes).fill(1));
    if (logged.has(ctx)) twice++;
    logged.add(ctx);
  },
}, { observer });

function countsNow(): Counts {
  const running: Record<string, number> = {};
  let begun = 0;
  const negative: string[] = [];
  for (const line of proxy.metrics().split("\n")) {
    if (line.startsWith("#")) continue;
    if (/ -\d/.test(line)) negative.push(line);
    if (line.startsWith(`${ARRIVED} `)) begun = Number(line.slice(ARRIVED.length));
    const [, series, value] = RUNNING.exec(line) ?? [];
    if (series !== undefined) running[series] = Number(value);
  }
  const memory = Deno.memoryUsage();
  const descriptors = [...Deno.readDirSync("/proc/self/fd")].length;
  return { begun, settled, twice, entries, statuses, events, errors, running, negative, memory, descriptors };
}

function say(value: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(value) + "\n"));
}

say({ port: Number(proxy.addresses[0]!.split(":").at(-1)) });
for await (
  const _line of Deno.stdin.readable.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
) {
  say(countsNow());
}
await proxy.shutdown();
