/** Every function that a configuration can have, and what becomes of a request when it fails. */

import type { Filters } from "../../../lib/filter/filters.ts";
import type { PoolOptions } from "../../../lib/config/pool_options.ts";
import type { ProxyConfig } from "../../../lib/config/proxy_config.ts";
import type { Observer } from "../../../lib/observe/observer.ts";
import type { ServeOptions } from "../../../lib/server/serve_options.ts";
import {
  basicAuth,
  bearerAuth,
  compress,
  cors,
  mirror,
  redirect,
  requestId,
  rewritePath,
  setHeaders,
} from "../../../mod.ts";
import { deadPort } from "../../support/dead_port.ts";
import type { TestConfig, TestProxy } from "../../support/start_proxy.ts";

type Leaf = string | number | boolean | null | undefined | RegExp | Uint8Array;

/** The ways to the functions in a type: `"limiter.key"`; `*` stands for names of the user's. */
type FunctionsIn<T, Path extends string = ""> = T extends (...args: never[]) => unknown ? Path
  : T extends Leaf ? never
  : T extends readonly (infer Item)[] ? FunctionsIn<Item, Path>
  : string extends keyof T ? FunctionsIn<T[keyof T], `${Path}.*`>
  : {
    [Key in keyof T & string]-?: FunctionsIn<T[Key], Path extends "" ? Key : `${Path}.${Key}`>;
  }[keyof T & string];

/** The same functions as at another place of the configuration. */
type Elsewhere =
  | `filters.${string}`
  | `routes.filters.${string}`
  | `routes.limiter.${string}`
  | `upstreams.*${string}`
  // Before there is a request; see `certificate_names_test.ts` and `client_certificates_test.ts`.
  | `listen.tls.${string}`;

type Module = typeof import("../../../mod.ts");
// deno-lint-ignore no-explicit-any
type Made<T> = T extends (...args: any) => infer Result ? Result : never;
type FilterFactory = {
  [Name in keyof Module]: [Made<Module[Name]>] extends [never] ? never
    : Filters extends Made<Module[Name]> ? Made<Module[Name]> extends Filters ? Name : never
    : never;
}[keyof Module];
type FilterFunction = {
  [Name in FilterFactory]: FunctionsIn<Parameters<Module[Name]>, Name>;
}[FilterFactory];

/** Names of all functions, as the types have them: one that is new and is not in the table does not compile. */
export type CallbackName =
  | Exclude<FunctionsIn<ProxyConfig>, Elsewhere>
  | FilterFunction
  | FunctionsIn<Pick<ServeOptions, "observer">>;

/** A function of the configuration, whatever it is for. */
// deno-lint-ignore no-explicit-any
export type Callback = (...args: any[]) => any;

/** Status that the client gets, and what the log says. */
export type Outcome = readonly [status: number, log: string];

/** One function of the configuration. */
export interface CallbackCase {
  /** The configuration that has it. */
  readonly config: (call: Callback, upstream: string) => TestConfig;
  /** What is there instead of a configuration's observer. */
  readonly observer?: (call: Callback) => Observer;
  /** What it returns when nothing is wrong. */
  readonly good?: Callback;
  /** Request line, fields and content. @default {["GET /"]} */
  readonly request?: readonly [line: string, lines?: readonly string[], body?: string];
  /** When it throws `boom`. */
  readonly throws: Outcome;
  /** When it rejects with `boom`. @default {as it throws} */
  readonly rejects?: Outcome;
  /** When it returns a promise that never settles; `null` where that takes too long to be tried. @default {as it rejects} */
  readonly hangs?: Outcome | null;
  /** What it must not return. */
  readonly wrong?: readonly (readonly [value: unknown, ...outcome: Outcome])[];
  /** Status once nothing is wrong any more; `null` where that takes too long to be tried. @default {200} */
  readonly afterwards?: number | null;
  /** Whether one that hangs once is not called again. */
  readonly hangsForGood?: boolean;
  /** Waits until that has had its effect. */
  readonly recovered?: (proxy: TestProxy) => Promise<void>;
}

const ASYNC = "it must not be async, returned a promise";
const POST = ["POST /", ["Content-Length: 2"], "ab"] as const;
const LATE: Outcome = [504, "The exchange took longer than it may"];

/** A phase that may be async: 500, and 504 where it takes too long. */
function phase(name: keyof Filters, more: Partial<CallbackCase> = {}): CallbackCase {
  return {
    config: (call, upstream) => ({ upstreams: [upstream], [name]: call }),
    throws: [500, `${name} threw: boom`],
    hangs: LATE,
    ...more,
  };
}

/** A function of a policy. */
function policy(option: string, more: Partial<CallbackCase> = {}): CallbackCase {
  const threw = `${option} of the limiter policy "default" threw:`;
  return {
    config: (call, upstream) => ({
      upstreams: [upstream],
      limiter: { key: "ip", limit: 100, window: "1m", ...(option === "burst" ? BUCKET : {}), [option]: call },
    }),
    throws: [500, `${threw} boom`],
    rejects: [500, `${threw} it must return`],
    ...more,
    wrong: (more.wrong ?? []).map(([value, status, log]) => [value, status, `${threw} ${log}`]),
  };
}

const BUCKET = { algorithm: "token-bucket" } as const;

/** A function that decides about retries, of a request whose first server cannot be connected to. */
function retries(config: (call: Callback, pool: PoolOptions) => TestConfig): CallbackCase {
  const wrong = "retries threw: it must return true or false";
  return {
    config: (call, upstream) =>
      config(call, { servers: [`127.0.0.1:${deadPort()}`, upstream], balance: "first", ejection: false }),
    good: () => true,
    throws: [500, "retries threw: boom"],
    rejects: [500, `${wrong}, returned a promise`],
    wrong: [["yes", 500, wrong], [1, 500, wrong], [undefined, 502, "Cannot connect"]],
  };
}

/** A ready-made filter's function that must not be async. */
function filter(
  make: (call: Callback) => Filters,
  where: keyof Filters,
  more: Partial<CallbackCase> = {},
): CallbackCase {
  const threw = `${where} threw:`;
  return {
    config: (call, upstream) => ({ upstreams: [upstream], filters: [make(call)] }),
    throws: [500, `${threw} boom`],
    rejects: [500, `${threw} it must return`],
    ...more,
    wrong: (more.wrong ?? []).map(([value, status, log]) => [value, status, `${threw} ${log}`]),
  };
}

/** What a program listens with; there is no log to tell that it fails but `stderr`. */
function observer(make: (call: Callback) => Observer): CallbackCase {
  return {
    config: (_call, upstream) => ({ upstreams: [upstream] }),
    observer: make,
    throws: [200, "observer threw: boom"],
    hangs: [200, ""],
  };
}

const COUNT = "it must return a whole number from 0 to 1000000000";
const AMOUNT = "it must return a number from 0 to 9007199254740991, returned";
const YES_OR_NO = "it must return true or false, returned";
const RESPONSE = "it must return a Response or nothing, returned";
const CONTENT = "it must return a ReadableStream, { body, length } or nothing";

const amounts: CallbackCase["wrong"] = [
  [NaN, 500, `${AMOUNT} NaN`],
  [-1, 500, `${AMOUNT} -1`],
  [1e300, 500, `${AMOUNT} 1e+300`],
  [Infinity, 500, `${AMOUNT} Infinity`],
  ["1", 500, `${AMOUNT} "1"`],
];

const counts: CallbackCase["wrong"] = [
  [NaN, 500, COUNT],
  [-1, 500, COUNT],
  [1.5, 500, COUNT],
  [1e300, 500, COUNT],
  [-Infinity, 500, COUNT],
  ["1", 500, COUNT],
  [undefined, 500, COUNT],
];

const PACE = { interval: "20ms", timeout: "250ms" } as const;

/** A check of servers; one that fails takes the server out. */
function check(healthCheck: (call: Callback) => unknown, more: Partial<CallbackCase> = {}): CallbackCase {
  return {
    config: (call, upstream) => ({
      upstreams: { servers: [upstream], healthCheck: healthCheck(call) } as ProxyConfig["upstreams"],
    }),
    good: () => true,
    throws: [503, "is unhealthy: boom"],
    hangs: [503, "is unhealthy: timed out after 250ms"],
    hangsForGood: true,
    wrong: [[false, 503, "is unhealthy"]],
    recovered: (proxy) => proxy.seen.until(() => proxy.seen.eventsOf("health").at(-1)?.healthy === true),
    ...more,
  };
}

/** A search for servers; one that fails leaves the pool as it is, which is without any. */
function discovery(make: (call: Callback) => unknown, more: Partial<CallbackCase> = {}): CallbackCase {
  const failed = "Cannot find servers for pool default:";
  const server = (option: string, value: unknown) => [{ address: "127.0.0.1:1", [option]: value }];
  return {
    config: (call, upstream) => ({
      upstreams: { discovery: make((signal) => call(signal) ?? [upstream]) } as ProxyConfig["upstreams"],
    }),
    throws: [503, `${failed} boom`],
    hangs: [503, `${failed} No response after 250 ms`],
    wrong: [
      [[], 503, `${failed} no servers were found`],
      [5, 503, failed],
      ["127.0.0.1:1", 503, failed],
      [[5], 503, failed],
      [server("weight", NaN), 503, `${failed} Cannot weigh server`],
      [server("weight", -1), 503, `${failed} Cannot weigh server`],
      [server("weight", 1e300), 503, `${failed} Cannot weigh server`],
      [server("weight", "1"), 503, `${failed} Cannot weigh server`],
      [server("maxInFlight", NaN), 503, `${failed} Cannot limit server`],
      [server("maxInFlight", 1.5), 503, `${failed} Cannot limit server`],
    ],
    recovered: (proxy) =>
      proxy.seen.until(() => proxy.seen.eventsOf("discovery").at(-1)?.state === "changed"),
    ...more,
  };
}

const NOWHERE = { file: "/dev/null" };

/** All of them. */
export const CALLBACKS: Readonly<Record<CallbackName, CallbackCase>> = {
  newContext: phase("newContext", {
    rejects: [500, `newContext threw: ${ASYNC}`],
    hangs: [500, `newContext threw: ${ASYNC}`],
  }),
  requestFilter: phase("requestFilter", {
    wrong: [["text", 500, RESPONSE], [5, 500, RESPONSE], [{}, 500, RESPONSE]],
  }),
  requestBodyFilter: phase("requestBodyFilter", {
    request: POST,
    wrong: [["text", 500, CONTENT], [
      { body: new ReadableStream(), length: NaN },
      500,
      "the length must be a whole number",
    ]],
  }),
  upstreamPeer: phase("upstreamPeer", {
    wrong: [
      [5, 500, "it must return the name of a pool"],
      ["blue", 500, 'Cannot use the pool "blue"'],
      [{ address: "a b" }, 500, "Cannot use server"],
    ],
  }),
  upstreamRequestFilter: phase("upstreamRequestFilter"),
  failToConnect: phase("failToConnect", {
    config: (call) => ({
      upstreams: { servers: [`127.0.0.1:${deadPort()}`], ejection: false },
      failToConnect: call,
    }),
    afterwards: 502,
  }),
  upstreamResponseFilter: phase("upstreamResponseFilter", {
    wrong: [["text", 500, RESPONSE], [{}, 500, RESPONSE]],
  }),
  responseFilter: phase("responseFilter", { wrong: [["text", 500, RESPONSE], [5, 500, RESPONSE]] }),
  responseBodyFilter: phase("responseBodyFilter", {
    wrong: [["text", 500, CONTENT], [
      { body: new ReadableStream(), length: 1.5 },
      500,
      "the length must be a whole number",
    ]],
  }),
  failToProxy: phase("failToProxy", {
    config: (call) => ({
      upstreams: { servers: [`127.0.0.1:${deadPort()}`], ejection: false },
      failToProxy: call,
    }),
    throws: [502, "failToProxy threw: boom"],
    hangs: [502, "failToProxy threw: The exchange took longer than it may"],
    wrong: [["text", 502, "failToProxy threw: it must return a Response that was not read, or nothing"]],
    afterwards: 502,
  }),
  localReplyFilter: phase("localReplyFilter", {
    config: (call) => ({
      upstreams: ["127.0.0.1:1"],
      requestFilter: () => new Response("own", { status: 401 }),
      localReplyFilter: call,
    }),
    throws: [401, "localReplyFilter threw: boom"],
    rejects: [401, `localReplyFilter threw: ${ASYNC}`],
    hangs: [401, `localReplyFilter threw: ${ASYNC}`],
    afterwards: 401,
  }),
  logging: phase("logging", { throws: [200, "logging threw: boom"], hangs: [200, ""] }),
  onListen: {
    config: (call, upstream) => ({ upstreams: [upstream], onListen: call }),
    throws: [200, "onListen threw: boom"],
    hangs: [200, ""],
  },

  "limiter.key": policy("key", { wrong: [[5, 500, "it must return a string or null, returned 5"]] }),
  "limiter.limit": policy("limit", { good: () => 100, wrong: counts }),
  "limiter.burst": policy("burst", { good: () => 100, wrong: [...counts, [Infinity, 500, COUNT]] }),
  "limiter.cost": policy("cost", { good: () => 1, wrong: [...amounts, [undefined, 500, AMOUNT]] }),
  "limiter.charge": policy("charge", {
    good: () => 1,
    throws: [200, 'charge threw: charge of the limiter policy "default" threw: boom'],
    rejects: [200, `${AMOUNT} a promise`],
    wrong: [...amounts, [undefined, 500, AMOUNT]].map(([value, _status, log]) => [value, 200, log as string]),
  }),
  "limiter.exempt": policy("exempt", {
    wrong: [["no", 500, YES_OR_NO], [() => true, 500, YES_OR_NO], [1, 500, YES_OR_NO]],
  }),
  "limiter.response": policy("response", {
    config: (call) => ({
      upstreams: ["127.0.0.1:1"],
      limiter: { key: "ip", limit: 0, window: "1m", response: call },
    }),
    good: () => new Response("own", { status: 420 }),
    rejects: [500, 'response of the limiter policy "default" threw: boom'],
    hangs: LATE,
    wrong: [[undefined, 500, RESPONSE], ["text", 500, RESPONSE]],
    afterwards: 420,
  }),

  "routes.splitKey": {
    config: (call, upstream) => ({
      upstreams: { default: [upstream], other: [upstream] },
      routes: [{ upstream: { default: 1, other: 1 }, splitKey: call }],
    }),
    good: () => "key",
    throws: [500, "splitKey threw: boom"],
    rejects: [500, "splitKey threw: it must return a string or null, returned a promise"],
    wrong: [[5, 500, "splitKey threw: it must return a string or null, returned 5"]],
  },
  "routes.rewrite": {
    config: (call, upstream) => ({ upstreams: [upstream], routes: [{ rewrite: call }] }),
    good: (target) => target,
    throws: [500, "rewrite threw: boom"],
    rejects: [500, "rewrite threw: it must return a path that begins with a slash, returned a promise"],
    wrong: [undefined, "", "a b", 5, 5n, "/a\r\nb"].map((value) =>
      [value, 500, "rewrite threw: it must return a path that begins with a slash"] as const
    ),
  },

  "routes.retries": retries((call, pool) => ({ upstreams: pool, routes: [{ retries: call }] })),

  "upstreams.retries": retries((call, pool) => ({ upstreams: { ...pool, retries: call } })),
  "upstreams.balance": {
    config: (call, upstream) => ({ upstreams: { servers: [upstream], balance: call } }),
    good: (servers) => servers[0],
    throws: [503, "balance threw: boom"],
    rejects: [503, "balance threw: it must return one of the servers or nothing, returned a promise"],
    wrong: [
      ["127.0.0.1:1", 503, "balance threw: it must return one of the servers or nothing"],
      [0, 503, "balance threw: it must return one of the servers or nothing"],
      [undefined, 503, 'No server of the pool "default" can be used'],
    ],
  },
  "upstreams.key": {
    config: (call, upstream) => ({
      upstreams: { servers: [upstream], balance: "consistent-hash", key: call },
    }),
    good: () => "key",
    throws: [500, "key threw: boom"],
    rejects: [500, "key threw: it must return a string or null, returned a promise"],
    wrong: [[5, 500, "key threw: it must return a string or null, returned 5"]],
  },
  "upstreams.healthCheck": check((check) => check, { hangs: null, afterwards: null }),
  "upstreams.healthCheck.check": check((check) => ({ type: "custom", check, ...PACE })),
  "upstreams.healthCheck.body": check((body) => ({ type: "http", body, ...PACE })),
  "upstreams.onHealthChange": {
    config: (call, upstream) => ({
      upstreams: {
        servers: [upstream],
        healthCheck: { type: "custom", check: () => Promise.resolve(false), ...PACE },
        onHealthChange: call,
      },
    }),
    throws: [503, "onHealthChange threw: boom"],
    hangs: [503, ""],
    afterwards: 503,
  },
  "upstreams.discovery": discovery((discover) => discover, { hangs: null, afterwards: null }),
  "upstreams.discovery.discover": discovery((discover) => ({ type: "custom", discover, ...PACE })),

  "basicAuth.users": filter((users) => basicAuth({ users }), "requestFilter", {
    request: ["GET /", ["Authorization: Basic YTpi"]],
    good: () => true,
    rejects: [500, "requestFilter threw: boom"],
    hangs: LATE,
    wrong: [["yes", 500, YES_OR_NO], [1, 500, YES_OR_NO], [{}, 500, YES_OR_NO]],
  }),
  "bearerAuth.verify": filter((verify) => bearerAuth({ verify }), "requestFilter", {
    request: ["GET /", ["Authorization: Bearer a"]],
    good: () => true,
    rejects: [500, "requestFilter threw: boom"],
    hangs: LATE,
    wrong: [["yes", 500, YES_OR_NO], [1, 500, YES_OR_NO], [[], 500, YES_OR_NO]],
  }),
  "bearerAuth.authorize": filter(
    (authorize) => bearerAuth({ verify: () => true, authorize }),
    "requestFilter",
    {
      request: ["GET /", ["Authorization: Bearer a"]],
      rejects: [500, "requestFilter threw: boom"],
      hangs: LATE,
      wrong: [["no", 500, YES_OR_NO], [0, 500, YES_OR_NO], [{}, 500, YES_OR_NO]],
    },
  ),
  "compress.types": filter((types) => compress({ types }), "responseFilter", {
    wrong: [["no", 500, YES_OR_NO], [1, 500, YES_OR_NO]],
  }),
  "cors.origins": filter((origins) => cors({ origins }), "responseFilter", {
    request: ["GET /", ["Origin: https://a.example"]],
    wrong: [["https://a.example", 500, YES_OR_NO], [1, 500, YES_OR_NO]],
  }),
  "mirror.when": {
    config: (when, upstream) => ({ upstreams: [upstream], filters: [mirror({ to: "127.0.0.1:1", when })] }),
    throws: [200, "Cannot tell whether to mirror a request: boom"],
    rejects: [
      200,
      "Cannot tell whether to mirror a request: it must return true or false, returned a promise",
    ],
    wrong: [["no", 200, "Cannot tell whether to mirror a request: it must return true or false"]],
  },
  "mirror.random": {
    config: (random, upstream) => ({
      upstreams: [upstream],
      filters: [mirror({ to: "127.0.0.1:1", random: () => random() ?? 1 })],
    }),
    throws: [200, "Cannot tell whether to mirror a request: boom"],
    rejects: [
      200,
      "Cannot tell whether to mirror a request: it must return a number from 0 to 1, returned a promise",
    ],
    wrong: [[
      NaN,
      200,
      "Cannot tell whether to mirror a request: it must return a number from 0 to 1, returned NaN",
    ]],
  },
  redirect: filter((to) => redirect(to), "requestFilter", {
    wrong: [
      [5, 500, "it must return an address or nothing"],
      [{}, 500, "it must return an address or nothing"],
      ["a\r\nb: c", 500, ""],
    ],
  }),
  "requestId.generate": {
    config: (generate, upstream) => ({
      upstreams: [upstream],
      filters: [requestId({ generate: () => generate() ?? "id" })],
    }),
    throws: [200, 'requestId: "generate" threw: boom'],
    rejects: [200, 'requestId: "generate" threw: it must return 1 to 128 visible ASCII characters'],
    wrong: ["", "a b", "a\r\nb", "\u00e9", "a".repeat(129), 5].map((value) =>
      [value, 200, 'requestId: "generate" threw: it must return 1 to 128 visible ASCII characters'] as const
    ),
  },
  "requestId.trusted": {
    config: (trusted, upstream) => ({ upstreams: [upstream], filters: [requestId({ trusted })] }),
    request: ["GET /", ["X-Request-Id: theirs"]],
    throws: [200, 'requestId: "trusted" threw: boom'],
    rejects: [200, `requestId: "trusted" threw: ${YES_OR_NO} a promise`],
    wrong: [["no", 200, `requestId: "trusted" threw: ${YES_OR_NO}`]],
  },
  rewritePath: filter((rewrite) => rewritePath(rewrite), "upstreamRequestFilter", {
    good: (target) => target,
    wrong: [
      [undefined, 500, "it must return a path"],
      [5, 500, "it must return a path"],
      ["/a b", 500, "it made the target"],
    ],
  }),
  "setHeaders.request.*": filter(
    (make) => setHeaders({ request: { "x-made": make } }),
    "upstreamRequestFilter",
    {
      wrong: [[NaN, 500, "it must return a text"], [{}, 500, "it must return a text"], [
        "a\r\nb: c",
        500,
        "Cannot use",
      ]],
    },
  ),
  "setHeaders.response.*": filter((make) => setHeaders({ response: { "x-made": make } }), "responseFilter", {
    wrong: [[NaN, 500, "it must return a text"], [{}, 500, "it must return a text"], [
      "a\r\nb: c",
      500,
      "Cannot use",
    ]],
  }),

  "accessLog.format": {
    config: (format, upstream) => ({ upstreams: [upstream], accessLog: { format, to: NOWHERE } }),
    good: () => "line",
    throws: [200, "accessLog.format threw: boom"],
    rejects: [200, "accessLog.format threw: it must return a string, returned a promise"],
    wrong: [[5, 200, "accessLog.format threw: it must return a string, returned 5"]],
  },
  "accessLog.when": {
    config: (when, upstream) => ({ upstreams: [upstream], accessLog: { when, to: NOWHERE } }),
    good: () => true,
    throws: [200, "accessLog.when threw: boom"],
    rejects: [200, "accessLog.when threw: it must return true or false, returned a promise"],
    wrong: [["yes", 200, "accessLog.when threw: it must return true or false"]],
  },
  "observer.event": observer((event) => ({ wantsAccess: true, event, access: () => {} })),
  "observer.access": observer((access) => ({ wantsAccess: true, event: () => {}, access })),
};
