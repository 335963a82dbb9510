/** The description of the admin listener (OpenAPI 3.1). */

import { LOG_LEVELS } from "../observe/events.ts";
import { MAX_WEIGHT } from "../upstream/peer.ts";
import { ASKED_PATTERNS, MAX_ASKED_HEADERS } from "./explain.ts";
import { SERVER_STATE_NAMES } from "./status.ts";

/** Longest ban: 365 days. */
export const MAX_BAN_MS = 365 * 86_400_000;

type Schema = Readonly<Record<string, unknown>>;

const text: Schema = { type: "string" };
const number: Schema = { type: "number" };
const count: Schema = { type: "integer", minimum: 0 };
const flag: Schema = { type: "boolean" };
const time: Schema = { type: "string", format: "date-time" };

/** Schema of an object that has all of these members and no others. */
function object(properties: Readonly<Record<string, Schema>>, required = Object.keys(properties)): Schema {
  return { type: "object", properties, required, additionalProperties: false };
}

function list(items: Schema): Schema {
  return { type: "array", items };
}

function map(values: Schema): Schema {
  return { type: "object", additionalProperties: values };
}

function orNull(schema: Schema): Schema {
  return { anyOf: [schema, { type: "null" }] };
}

function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

const latency = orNull(object({ p50Ms: orNull(number), p95Ms: orNull(number), p99Ms: orNull(number) }));

const key = object({
  key: text,
  used: number,
  limit: number,
  share: number,
  resetMs: orNull(number),
  bannedMs: number,
});

const server = object({
  address: text,
  state: { enum: SERVER_STATE_NAMES },
  since: time,
  reason: orNull(text),
  weight: number,
  effectiveWeight: number,
  backup: flag,
  tags: list(text),
  inFlight: count,
  maxInFlight: orNull(count),
  requests: count,
  failures: count,
  consecutiveFailures: count,
  perSecond: number,
  failuresPerSecond: number,
  latency,
  codes: map(number),
  errors: map(number),
  lastCheck: orNull(object({ at: time, passed: flag, durationMs: number, text })),
});

const pool = object({
  name: text,
  panic: flag,
  available: count,
  waiting: count,
  inFlight: count,
  perSecond: number,
  servers: list(ref("Server")),
});

const limit = object({
  name: text,
  scope: text,
  algorithm: text,
  key: text,
  limit: orNull(number),
  windowMs: number,
  dryRun: flag,
  decisions: map(number),
  perSecond: map(number),
  overflows: count,
  hottest: list(ref("Key")),
});

const table = orNull(object({ keys: count, capacity: count }));

const status = object({
  time,
  version: text,
  state: { enum: ["starting", "serving", "stopping"] },
  ready: flag,
  startedAt: time,
  uptimeMs: count,
  addresses: list(text),
  configuration: object({
    source: orNull(text),
    hash: text,
    generation: count,
    loadedAt: time,
    lastReload: orNull(object({ at: time, applied: flag, message: text })),
  }),
  logLevel: orNull({ enum: LOG_LEVELS }),
  requests: object({
    arrived: count,
    inFlight: count,
    perSecond: number,
    codes: map(number),
    refused: number,
    latency,
    total: map(number),
  }),
  pools: list(ref("Pool")),
  limits: list(ref("Limit")),
  table,
  workers: list(
    object({
      id: count,
      role: { enum: ["proxy", "supervisor", "worker"] },
      pid: count,
      state: { enum: ["starting", "serving", "stopping"] },
      generation: count,
      uptimeMs: count,
      restarts: count,
      requests: orNull(count),
      inFlight: count,
      rssBytes: orNull(count),
      heapBytes: orNull(count),
      cpu: number,
      loopDelayMs: number,
    }),
  ),
});

const explanation = object({
  request: object({ method: text, host: text, target: text, client: text }),
  ends: orNull(object({ status: count, reason: text })),
  route: orNull(text),
  path: text,
  limits: list(object({
    policy: text,
    algorithm: text,
    key: orNull(text),
    limit: orNull(number),
    remaining: orNull(number),
    resetMs: orNull(number),
    bannedMs: number,
    dryRun: flag,
    allowed: flag,
  })),
  pools: list(object({ name: text, share: number })),
  balance: orNull(text),
  key: orNull(text),
  server: orNull(text),
  servers: list(object({
    pool: text,
    address: text,
    state: { enum: SERVER_STATE_NAMES },
    weight: number,
    backup: flag,
    eligible: flag,
  })),
  upstreamTarget: orNull(text),
  notes: list(text),
});

const weight: Schema = { type: "number", minimum: 0, maximum: MAX_WEIGHT };
const duration: Schema = {
  description: 'Such as "10m", or milliseconds.',
  anyOf: [
    { type: "string", pattern: "^0*[1-9][0-9]{0,4}(ms|s|m|h|d)$" },
    { type: "number", exclusiveMinimum: 0, maximum: MAX_BAN_MS },
  ],
};

/** Description of an operation. */
interface OperationDescription {
  readonly summary: string;
  /** Schema of the content of a change. */
  readonly body?: Schema;
  readonly query?: Readonly<Record<string, Schema>>;
  /** Content of the response, by type. */
  readonly gives: Readonly<Record<string, Schema>>;
  /** Responses in addition to the common ones. */
  readonly also?: Readonly<Record<string, string>>;
}

const JSON_TYPE = "application/json";
const emptyObject = object({});
const ready = object({ ready: flag, reason: orNull(text) });

function readOperation(
  summary: string,
  schema: Schema,
  rest: Partial<OperationDescription> = {},
): OperationDescription {
  return { summary, gives: { [JSON_TYPE]: schema }, ...rest };
}

function changeOperation(
  summary: string,
  body: Schema,
  also: OperationDescription["also"] = {},
): OperationDescription {
  return { summary, body, gives: { [JSON_TYPE]: ref("Done") }, also };
}

const NOT_FOUND = { 404: "There is no such pool, server or policy." };
const CONFLICT = { 409: "It cannot be done now." };

/** Descriptions by method and path, without the files of the dashboard. */
const DESCRIPTIONS: Readonly<Record<string, OperationDescription>> = {
  "GET /whoami": readOperation("Whose token it is", object({ owner: orNull(text) })),
  "GET /status": readOperation("The whole state", ref("Status")),
  "GET /events": {
    summary:
      "The state once a second, and what happens, as server-sent events; begins behind `Last-Event-ID`",
    gives: { "text/event-stream": text },
    also: { 503: "There are too many readers, or the proxy stops." },
  },
  "GET /metrics": {
    summary: "Metrics for Prometheus",
    gives: { "text/plain": text, "application/openmetrics-text": text },
  },
  "GET /config": readOperation(
    "The configuration that runs, in plain words",
    object({ source: orNull(text), hash: text, generation: count, loadedAt: time, text }),
  ),
  "GET /limits": readOperation(
    "The policies with their counts",
    object({ policies: list(ref("Limit")), table }),
  ),
  "GET /limits/{policy}/keys": readOperation(
    "The keys of a policy that have used most of their limits",
    object({ policy: text, keys: list(ref("Key")) }),
    {
      query: {
        near: { type: "number", minimum: 0, maximum: 1, default: 0 },
        top: { type: "integer", minimum: 1, maximum: 1000, default: 50 },
      },
      also: NOT_FOUND,
    },
  ),
  "GET /explain": readOperation(
    "What would become of a request that is not sent: its route, limits, pool and server",
    ref("Explanation"),
    {
      query: {
        method: { type: "string", pattern: ASKED_PATTERNS.method, default: "GET" },
        target: { type: "string", pattern: ASKED_PATTERNS.target, default: "/" },
        host: { type: "string", pattern: ASKED_PATTERNS.host, default: "localhost" },
        client: { type: "string", format: "ipv4", default: "192.0.2.1" },
        header: {
          type: "array",
          items: { type: "string", pattern: ASKED_PATTERNS.header },
          maxItems: MAX_ASKED_HEADERS,
        },
      },
    },
  ),
  "GET /healthz": readOperation("200 while the process works", object({ status: { const: "ok" } })),
  "GET /readyz": readOperation("200 while it should get requests", ready),
  "GET /openapi.json": readOperation("This description", { type: "object" }),
  "POST /pools/{pool}/servers": changeOperation(
    "Adds a server",
    object({
      address: { type: "string", description: '"host:port" or "unix:/path"' },
      weight,
      backup: flag,
      tags: list(text),
      maxInFlight: { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    }, ["address"]),
    { ...NOT_FOUND, ...CONFLICT },
  ),
  "POST /pools/{pool}/servers/{server}/drain": changeOperation(
    "Gives a server no new requests",
    emptyObject,
    NOT_FOUND,
  ),
  "POST /pools/{pool}/servers/{server}/ready": changeOperation("Uses a server again", emptyObject, NOT_FOUND),
  "POST /pools/{pool}/servers/{server}/disable": changeOperation(
    "Uses a server no more",
    emptyObject,
    NOT_FOUND,
  ),
  "POST /pools/{pool}/servers/{server}/weight": changeOperation(
    "Weighs a server",
    object({ weight }),
    NOT_FOUND,
  ),
  "POST /pools/{pool}/servers/{server}/remove": changeOperation(
    "Takes a server out of its pool",
    emptyObject,
    {
      ...NOT_FOUND,
      ...CONFLICT,
    },
  ),
  "POST /limits/{policy}/keys/ban": changeOperation(
    "Refuses a key for some time",
    object({ key: text, duration }, ["key"]),
    {
      ...NOT_FOUND,
      507: "There is no room to write it down.",
    },
  ),
  "POST /limits/{policy}/keys/reset": changeOperation(
    "Forgets what a key has used, and lifts its ban",
    object({ key: text }),
    NOT_FOUND,
  ),
  "POST /reload": changeOperation("Loads the configuration again", emptyObject, CONFLICT),
  "POST /log-level": changeOperation(
    "Says how much is logged",
    object({ level: { enum: LOG_LEVELS } }),
    CONFLICT,
  ),
};

/**
 * Describes these operations.
 *
 * @throws {TypeError} when an operation has no description
 */
export function describeApi(
  operations: Iterable<{ readonly method: string; readonly path: string; readonly access: string }>,
  version: string,
): Schema {
  const paths: Record<string, Record<string, Schema>> = {};
  for (const { method, path, access } of operations) {
    const description = DESCRIPTIONS[`${method} ${path}`];
    if (description === undefined) throw new TypeError(`Nothing is said of ${method} ${path}`);
    const operationId = idOf(method, path);
    (paths[path] ??= {})[method.toLowerCase()] = { operationId, ...describe(path, access, description) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "lbproxy admin",
      version,
      description: "Watches and steers a running proxy. Changes need a bearer token of `admin.tokens`.",
    },
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: {
        Status: status,
        Pool: pool,
        Server: server,
        Limit: limit,
        Key: key,
        Explanation: explanation,
        Done: object({ done: text, result: object({ generation: count }) }, ["done"]),
        Problem: object({ type: text, title: text, status: count, detail: text }),
      },
    },
  };
}

/** The id of an operation: `GET /limits/{policy}/keys` is `getLimitsPolicyKeys`. */
function idOf(method: string, path: string): string {
  const words = path.match(/[A-Za-z]+/g) ?? [];
  return method.toLowerCase() + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join("");
}

function describe(
  path: string,
  access: string,
  { summary, body, query = {}, gives, also = {} }: OperationDescription,
): Schema {
  const refused: Record<string, string> = {
    403: "Nothing can be changed here, or the request comes from another site.",
    421: "It is for another host.",
    ...(access === "anyone" ? {} : { 401: "A token is needed, or this one is not valid." }),
    ...(body === undefined && Object.keys(query).length === 0 ? {} : { 400: "It cannot be understood." }),
    ...(body === undefined ? {} : {
      408: "The content took too long.",
      413: "The content is too large.",
      415: "The content is no JSON.",
    }),
    ...also,
  };
  const problem = { "application/problem+json": { schema: ref("Problem") } };
  const content = Object.fromEntries(Object.entries(gives).map(([type, schema]) => [type, { schema }]));
  return {
    summary,
    parameters: [
      ...Array.from(
        path.matchAll(/\{(\w+)\}/g),
        ([, name]) => ({ name, in: "path", required: true, schema: text }),
      ),
      ...Object.entries(query).map(([name, schema]) => ({ name, in: "query", schema })),
    ],
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: { [JSON_TYPE]: { schema: body } } } }),
    ...(access === "change"
      ? { security: [{ token: [] }] }
      : access === "read"
      ? { security: [{}, { token: [] }] }
      : {}),
    responses: {
      200: { description: "As asked.", content },
      ...(path === "/readyz" ? { 503: { description: "It should get none.", content } } : {}),
      ...Object.fromEntries(
        Object.entries(refused).map(([status, description]) => [status, { description, content: problem }]),
      ),
    },
  };
}
