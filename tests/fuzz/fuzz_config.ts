/** Configurations with something wrong in them: every one is either resolved or refused with a list of what is wrong. */

import { type Random, seededRandom } from "../../lib/core/random.ts";
import { ConfigError } from "../../lib/config/config_error.ts";
import { describeConfig } from "../../lib/config/describe_config.ts";
import { resolveConfig } from "../../lib/config/resolve_config.ts";
import type { Ending } from "./fuzz.ts";
import { oneOf } from "./make_text.ts";

type Box = Record<string, unknown>;

function store(): Box {
  return {
    type: "redis",
    url: "redis://u:p@127.0.0.1:6379/1",
    prefix: "x",
    timeout: "50ms",
    onStoreError: "local",
    instances: 2,
  };
}

/** A configuration with most of what there is. */
function goodConfig(): Box {
  return {
    listen: [
      "127.0.0.1:6188",
      {
        hostname: "::1",
        port: 1,
        engine: "http1",
        maxHeadBytes: "16KiB",
        maxFields: 100,
        timeouts: { head: "5s", write: 100 },
      },
      { port: 80, redirect: "https:443" },
      {
        port: 443,
        tls: {
          certificates: [{ cert: "a.pem", key: "a.key", names: ["a.example", "*.b.example"] }],
          unknownNames: "refuse",
          minVersion: "1.3",
          http2: true,
          clientCertificates: { ca: ["ca.pem"], mode: "request", verify: () => true },
        },
      },
      { unix: "/tmp/x.sock", underscores: "refuse", proxyProtocol: { from: ["unix"] } },
    ],
    upstreams: {
      api: {
        servers: ["127.0.0.1:1", {
          address: "b.example:2",
          weight: 3,
          backup: true,
          tags: ["x"],
          maxInFlight: 4,
        }],
        balance: "consistent-hash",
        key: "header:user",
        loadFactor: 1.5,
        healthCheck: {
          type: "http",
          path: "/",
          interval: "1s",
          timeout: 500,
          rise: 2,
          fall: 3,
          jitter: 0.2,
          expectedStatuses: [200],
        },
        ejection: { consecutiveFailures: 3, failureRate: 0.5, baseTime: "1s", maxTime: "1m" },
        slowStart: { duration: "5s", floor: 0.2 },
        panicThreshold: 0.3,
        maxInFlight: 10,
        queue: { size: 5, timeout: "1s" },
        timeouts: { connect: "1s", response: "1s", idle: "1s", total: "10s" },
        retries: {
          attempts: 2,
          on: ["connect", 503],
          methods: ["GET"],
          budget: { percent: 20, min: 3 },
          backoff: { base: "1ms", max: "2ms" },
          bodyLimit: "1KiB",
        },
        connections: { maxIdle: 3, idleTimeout: "1s" },
        bufferRequests: "64KiB",
        webSocket: { idleTimeout: "1m", pingInterval: "10s", maxMessageSize: "1MiB" },
      },
      default: {
        servers: ["https://c.example:443"],
        tls: { serverName: "c.example" },
        transport: "fetch",
        sticky: { secret: "0123456789abcdef" },
      },
    },
    limiter: [
      {
        key: "ip",
        limit: 10,
        window: "1m",
        algorithm: "token-bucket",
        burst: 20,
        exempt: ["10.0.0.0/8"],
        name: "a",
        store: store(),
      },
      {
        key: ["header:x", "path"],
        limit: 3,
        algorithm: "concurrency",
        onMissingKey: "reject",
        headers: ["draft-11"],
        name: "b",
        store: store(),
      },
    ],
    routes: [
      {
        match: { host: "*.a.example", path: "/a/*", method: ["GET"], headers: { x: true } },
        upstream: { api: 9, default: 1 },
        splitKey: "cookie:u",
        rewrite: { stripPrefix: "/a", prefix: "/b" },
      },
      {
        name: "r",
        match: { path: ["/x", "/y"] },
        upstream: "api",
        limiter: false,
        paths: "raw",
        timeouts: { response: "2s" },
      },
    ],
    overload: { maxInFlight: 100, queue: { size: 10 }, maxLoopDelay: "100ms" },
    trustedProxies: { from: ["10.0.0.0/8", "loopback"], field: "forwarded" },
    forwarded: { via: true },
    filters: [{ requestFilter: () => undefined }, { logging() {} }],
    tracing: { sample: 0.1, continue: "trusted" },
    serverTiming: true,
    accessLog: {
      format: "json",
      to: { file: "/tmp/x.log", maxSize: "10MB", keep: 3 },
      sample: 0.5,
      when: () => true,
      fields: ["status", "header:referer"],
      redact: ["token"],
    },
    metrics: true,
    admin: {
      listen: "127.0.0.1:9000",
      tokens: { ops: "0123456789abcdef0123456789abcdef", ci: { env: "TOKEN" } },
      read: "token",
      hosts: ["admin.example"],
    },
    webSocketGrace: "2s",
    shutdownDelay: "1s",
    rollback: { errorRate: 0.2, within: "10s", minRequests: 20 },
    workers: 2,
    paths: "refuse",
    forward: "normalized",
    gracePeriod: "5s",
  };
}

/** Frozen, so that no change is made within one of them. */
const VALUES: readonly unknown[] = [
  ...[
    undefined,
    null,
    true,
    false,
    0,
    1,
    -1,
    1.5,
    NaN,
    Infinity,
    2 ** 53,
    "",
    " ",
    "x",
    "1s",
    "5",
    "10KB",
    "-1s",
    "1e3s",
    [],
    {},
  ],
  ...[
    "127.0.0.1:80",
    "[::1]:80",
    "a:99999",
    "a b:1",
    "unix:/x",
    "https://a",
    "http://a/b",
    "ip",
    "header:",
    "header:x y",
    "/(",
    "/*",
    "*",
  ],
  ...[
    [null],
    [{}],
    [[]],
    [""],
    ["a", "a"],
    { a: 1 },
    Symbol("x"),
    10n,
    new Date(0),
    /x/,
    new Map(),
    () => {},
    () => null,
  ],
  ...["__proto__", "constructor", "toString", "\0", "\u{1f600}", "x".repeat(300), "x".repeat(10_000)],
];
const KEYS = [
  "servers",
  "timeouts",
  "limit",
  "x",
  "__proto__",
  "constructor",
  "toString",
  "",
  "0",
  "listen",
  "tls",
  "key",
];

/** Changes one place of a configuration: another value, one key less, one key more, or twice the same. */
function change(random: Random, root: Box): void {
  let at: Box | unknown[] = root;
  for (;;) {
    const keys = Object.keys(at);
    if (keys.length === 0) return;
    const key = oneOf(random, keys);
    const value = (at as Box)[key];
    if (
      typeof value === "object" && value !== null && random() < 0.75 &&
      !Object.isFrozen(value)
    ) {
      at = value as Box;
      continue;
    }
    const what = random();
    if (what < 0.65) (at as Box)[key] = oneOf(random, VALUES);
    else if (what < 0.8) delete (at as Box)[key];
    else if (what < 0.9 && Array.isArray(at)) at.push(at[0]);
    else if (!Array.isArray(at)) {
      Object.defineProperty(at, oneOf(random, KEYS), {
        value: oneOf(random, VALUES),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return;
  }
}

/** Nothing in it can be changed any more: what writes on it throws. */
function freeze(value: unknown): void {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const each of Object.values(value)) freeze(each);
}

/** One configuration. */
export function fuzzConfig(seed: number): Ending {
  const random = seededRandom(seed);
  const config = goodConfig();
  for (let left = Math.floor(random() * 4); left > 0; left--) change(random, config);
  freeze(config);
  try {
    const resolved = resolveConfig(config);
    const text = describeConfig(resolved);
    if (text.length === 0) throw new Error("nothing is said of it");
    return { outcome: "good", reason: "", messages: 1 };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw new Error(`${error instanceof Error ? error.stack : error}`);
    const { problems } = error;
    if (problems.length === 0) throw new Error("no problem is named");
    for (const { message } of problems) {
      if (
        message === "" ||
        /undefined must|\[object Object\]|function \((?!"header:[^"]{1,40}" counts)/.test(message)
      ) {
        throw new Error(`says ${message}`);
      }
      if (message.length > 2000) {
        throw new Error(`says ${message.length} characters: ${message.slice(0, 200)}`);
      }
    }
    return {
      outcome: "refused",
      reason: problems[0]!.message.replace(/received.*$/s, ""),
      messages: problems.length,
    };
  }
}
