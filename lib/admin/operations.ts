/** The operations of the admin listener. */

import { describeConfig } from "../config/describe_config.ts";
import { messageOf } from "../core/callback.ts";
import { DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import { METRICS_TYPES, metricsFormat } from "../observe/metrics/registry.ts";
import { LOG_LEVELS, type LogLevel } from "../observe/events.ts";
import type { RateLimiter } from "../limiter/limiter.ts";
import type { PoolRuntime } from "../proxy/proxy_runtime.ts";
import type { Server } from "../upstream/server.ts";
import { MAX_WEIGHT, type ServerSpec } from "../upstream/peer.ts";
import type { AdminTarget } from "./admin_target.ts";
import { explain, findProblem, MAX_ASKED_HEADERS, readHeader } from "./explain.ts";
import type { Feed } from "./feed.ts";
import { type Access, type Caller, json, problem, reply } from "./guard.ts";
import type { Monitor } from "./monitor.ts";
import { describeApi, MAX_BAN_MS } from "./openapi.ts";
import { PAGE_FILES, PAGE_POLICY } from "./page_files.ts";

/** The parts that operations use. */
export interface AdminParts {
  readonly target: AdminTarget;
  readonly monitor: Monitor;
  readonly feed: Feed;
}

/** A parsed request. */
interface AdminRequest {
  readonly caller: Caller;
  /** The variable parts of the path, decoded. */
  readonly path: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  /** The content; empty for reads. */
  readonly body: Readonly<Record<string, unknown>>;
}

/** An operation of the admin API. */
export interface Operation {
  readonly method: "GET" | "POST";
  /** Path with variables in braces, such as `/limits/{policy}/keys`. */
  readonly path: string;
  readonly access: Access;
  run(request: AdminRequest, parts: AdminParts): Response | Promise<Response>;
}

/** The reason why a change cannot be made. */
class ChangeError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The subject of a change, for the log. */
interface Subject {
  readonly action: string;
  readonly subject: string;
  readonly pool?: string;
  readonly server?: string;
}

export const OPERATIONS: readonly Operation[] = [
  ...PAGE_FILES.map(({ path, type, text }) =>
    open(path, () => reply(text, 200, { "content-type": type, "content-security-policy": PAGE_POLICY }))
  ),
  open("/openapi.json", (_, { target }) => json(describeApi(DESCRIBED, target.version))),
  // The owner of the token; requests with an invalid token are refused earlier.
  read("/whoami", ({ caller: { owner } }) => json({ owner })),
  read("/status", async (_, { monitor }) => {
    await monitor.refresh();
    return json(monitor.status());
  }),
  read("/events", ({ headers, query }, { feed }) => feed.open(lastEventId(headers, query))),
  read("/metrics", ({ headers }, { target }) => {
    const format = metricsFormat(headers.get("accept"));
    return reply(target.metrics(format), 200, { "content-type": METRICS_TYPES[format] });
  }),
  read("/config", (_, { target }) => json(configOf(target))),
  read("/limits", async (_, { monitor }) => {
    await monitor.refresh();
    const { limits, table } = monitor.status();
    return json({ policies: limits, table });
  }),
  read("/limits/{policy}/keys", listKeys),
  read("/explain", explainRequest),
  open("/healthz", () => json({ status: "ok" })),
  open(
    "/readyz",
    (_, { monitor: { unready } }) =>
      json({ ready: unready === null, reason: unready }, unready === null ? 200 : 503),
  ),
  change("/pools/{pool}/servers", addServer),
  change(
    "/pools/{pool}/servers/{server}/drain",
    (request, parts) =>
      changeServer(
        "drain",
        request,
        parts,
        (server, { balancer: { pool } }) => pool.setDraining(server, true),
      ),
  ),
  change(
    "/pools/{pool}/servers/{server}/ready",
    (request, parts) =>
      changeServer("ready", request, parts, (server, { balancer: { pool } }) => {
        pool.setDraining(server, false);
        pool.setEnabled(server, true);
      }),
  ),
  change(
    "/pools/{pool}/servers/{server}/disable",
    (request, parts) =>
      changeServer(
        "disable",
        request,
        parts,
        (server, { balancer: { pool } }) => pool.setEnabled(server, false),
      ),
  ),
  change("/pools/{pool}/servers/{server}/weight", setWeight),
  change(
    "/pools/{pool}/servers/{server}/remove",
    (request, parts) =>
      changeServer("remove", request, parts, (server, { balancer: { pool } }) => {
        if (pool.servers.length === 1) throw new ChangeError(409, "It is the last server of its pool");
        pool.removeServer(server);
      }),
  ),
  change("/limits/{policy}/keys/ban", banKey),
  change("/limits/{policy}/keys/reset", resetKey),
  change("/reload", reload),
  change("/log-level", setLogLevel),
];

/** The operations in the OpenAPI description: all except the files of the dashboard. */
const DESCRIBED = OPERATIONS.filter(({ path }) => !PAGE_FILES.some((file) => file.path === path));

function read(path: string, run: Operation["run"]): Operation {
  return { method: "GET", path, access: "read", run };
}

function open(path: string, run: Operation["run"]): Operation {
  return { method: "GET", path, access: "anyone", run };
}

function change(path: string, run: Operation["run"]): Operation {
  return { method: "POST", path, access: "change", run };
}

function lastEventId(headers: Headers, query: URLSearchParams): number {
  const text = headers.get("last-event-id") ?? query.get("after") ?? "";
  return /^\d{1,15}$/.test(text) ? Number(text) : 0;
}

function configOf({ configuration, config, source }: AdminTarget): unknown {
  const { hash, generation, loadedAt } = configuration;
  return {
    source,
    hash,
    generation,
    loadedAt: new Date(loadedAt).toISOString(),
    text: describeConfig(config),
  };
}

async function listKeys({ path, query }: AdminRequest, { monitor, target }: AdminParts): Promise<Response> {
  const name = path.policy!;
  limitersOf(target, name);
  const near = readNumber(query, "near", 0, 0, 1);
  const most = readNumber(query, "top", 50, 1, 1000);
  await monitor.refresh();
  return json({ policy: name, keys: monitor.keys(name, near, Math.floor(most)) });
}

function explainRequest({ query }: AdminRequest, { target: { runtime, config } }: AdminParts): Response {
  const stray = [...query.keys()].find((name) => !EXPLAIN_PARAMETERS.includes(name));
  if (stray !== undefined) {
    const known = EXPLAIN_PARAMETERS.map((name) => `"${name}"`).join(", ");
    throw new ChangeError(400, `${JSON.stringify(stray.slice(0, 60))} is not known; known are ${known}`);
  }
  const lines = query.getAll("header");
  if (lines.length > MAX_ASKED_HEADERS) {
    throw new ChangeError(400, `There must not be more than ${MAX_ASKED_HEADERS} header fields`);
  }
  const headers = lines.map((line) => {
    const header = readHeader(line);
    if (header === null) {
      throw new ChangeError(400, '"header" must be "NAME: VALUE"; the host is a parameter of its own');
    }
    return header;
  });
  const asked = {
    method: query.get("method") ?? "GET",
    target: query.get("target") ?? "/",
    host: query.get("host") ?? "localhost",
    client: query.get("client") ?? "192.0.2.1",
    headers,
  };
  const problem = findProblem(asked);
  if (problem !== null) throw new ChangeError(400, problem);
  return json(explain(runtime, config, asked));
}

const EXPLAIN_PARAMETERS = ["method", "target", "host", "client", "header"];

function readNumber(
  query: URLSearchParams,
  name: string,
  otherwise: number,
  least: number,
  most: number,
): number {
  const text = query.get(name);
  if (text === null) return otherwise;
  const value = Number(text);
  if (/^\d+(?:\.\d+)?$/.test(text) && value >= least && value <= most) return value;
  throw new ChangeError(400, `"${name}" must be a number from ${least} to ${most}`);
}

function poolOf({ pools }: AdminTarget, name: string): PoolRuntime {
  const pool = pools.find((each) => each.name === name);
  if (pool !== undefined) return pool;
  const known = pools.map((each) => JSON.stringify(each.name)).join(", ");
  throw new ChangeError(404, `There is no pool ${JSON.stringify(name)}; there is ${known}`);
}

function limitersOf({ limits: { limiters } }: AdminTarget, policy: string): readonly RateLimiter[] {
  const found = limiters.filter(({ policies }) => policies.some(({ name }) => name === policy));
  if (found.length > 0) return found;
  throw new ChangeError(404, `There is no policy ${JSON.stringify(policy)}`);
}

/** Makes a change, and logs it, also if it fails. */
async function perform(
  { action, subject, pool = null, server = null }: Omit<Subject, "pool" | "server"> & {
    pool?: string | null;
    server?: string | null;
  },
  { caller: { owner, client } }: AdminRequest,
  { target }: AdminParts,
  run: () => unknown,
): Promise<Response> {
  const event = { kind: "admin_change", who: owner!, client, action, subject, pool, server } as const;
  try {
    const result = await run();
    target.events.event({ ...event, error: null });
    return json({ done: `${action} ${subject}`, ...(result === undefined ? {} : { result }) });
  } catch (error) {
    target.events.event({ ...event, error: messageOf(error) });
    throw error;
  }
}

function changeServer(
  action: string,
  request: AdminRequest,
  parts: AdminParts,
  run: (server: Server, pool: PoolRuntime) => void,
): Promise<Response> {
  onlyKnown(request.body, action === "weight" ? ["weight"] : []);
  const pool = poolOf(parts.target, request.path.pool!);
  const id = request.path.server!;
  const server = pool.balancer.pool.server(id);
  if (server === undefined) {
    throw new ChangeError(
      404,
      `There is no server ${JSON.stringify(id)} in the pool ${JSON.stringify(pool.name)}`,
    );
  }
  const { weight } = request.body;
  const subject = `server ${id} of pool ${pool.name}${weight === undefined ? "" : ` to ${weight}`}`;
  return perform({ action, subject, pool: pool.name, server: id }, request, parts, () => run(server, pool));
}

function setWeight(request: AdminRequest, parts: AdminParts): Promise<Response> {
  const { weight } = request.body;
  if (typeof weight !== "number" || !(weight >= 0 && weight <= MAX_WEIGHT)) {
    throw new ChangeError(400, `"weight" must be a number from 0 to ${MAX_WEIGHT}`);
  }
  return changeServer(
    "weight",
    request,
    parts,
    (server, { balancer: { pool } }) => pool.setWeight(server, weight),
  );
}

function addServer(request: AdminRequest, parts: AdminParts): Promise<Response> {
  const { body } = request;
  onlyKnown(body, ["address", "weight", "backup", "tags", "maxInFlight"]);
  const spec = readServer(body);
  const { name, balancer } = poolOf(parts.target, request.path.pool!);
  if (balancer.pool.server(spec.address) !== undefined) {
    throw new ChangeError(409, `${JSON.stringify(spec.address)} is a server of the pool already`);
  }
  const subject = `server ${spec.address} of pool ${name}`;
  return perform({ action: "add", subject, pool: name, server: spec.address }, request, parts, () => {
    try {
      balancer.pool.addServer(spec);
    } catch (error) {
      throw new ChangeError(400, messageOf(error));
    }
  });
}

function readServer(
  { address, weight, backup, tags, maxInFlight }: Readonly<Record<string, unknown>>,
): ServerSpec {
  if (typeof address !== "string") {
    throw new ChangeError(400, '"address" must be "host:port" or "unix:/path"');
  }
  if (weight !== undefined && !(typeof weight === "number" && weight >= 0 && weight <= MAX_WEIGHT)) {
    throw new ChangeError(400, `"weight" must be a number from 0 to ${MAX_WEIGHT}`);
  }
  if (backup !== undefined && typeof backup !== "boolean") {
    throw new ChangeError(400, '"backup" must be true or false');
  }
  if (tags !== undefined && !(Array.isArray(tags) && tags.every((tag) => typeof tag === "string"))) {
    throw new ChangeError(400, '"tags" must be an array of strings');
  }
  if (maxInFlight !== undefined && !(Number.isSafeInteger(maxInFlight) && (maxInFlight as number) >= 1)) {
    throw new ChangeError(400, '"maxInFlight" must be a whole number of at least 1');
  }
  return {
    address,
    ...(weight === undefined ? {} : { weight }),
    ...(backup === undefined ? {} : { backup }),
    ...(tags === undefined ? {} : { tags }),
    ...(maxInFlight === undefined ? {} : { maxInFlight: maxInFlight as number }),
  };
}

function banKey(request: AdminRequest, parts: AdminParts): Promise<Response> {
  onlyKnown(request.body, ["key", "duration"]);
  const key = readKey(request.body);
  const { duration = "10m" } = request.body;
  const ms = parseDuration(duration);
  if (ms === undefined || ms <= 0 || ms > MAX_BAN_MS) {
    throw new ChangeError(400, `"duration" must be ${DURATION_EXPECTED}, above 0, and 365 days at most`);
  }
  const policy = request.path.policy!;
  const limiters = limitersOf(parts.target, policy);
  return perform(
    { action: "ban", subject: `${subjectOf(key, policy)} for ${ms / 1000} s` },
    request,
    parts,
    () => {
      if (!limiters.every((limiter) => limiter.ban(key, ms, policy))) {
        throw new ChangeError(507, "The table of counts is full");
      }
    },
  );
}

function resetKey(request: AdminRequest, parts: AdminParts): Promise<Response> {
  onlyKnown(request.body, ["key"]);
  const key = readKey(request.body);
  const policy = request.path.policy!;
  const limiters = limitersOf(parts.target, policy);
  return perform({ action: "reset", subject: subjectOf(key, policy) }, request, parts, () => {
    for (const limiter of limiters) limiter.reset(key, policy);
  });
}

function subjectOf(key: string, policy: string): string {
  return `key ${JSON.stringify(key.length > 100 ? `${key.slice(0, 100)}...` : key)} of policy ${policy}`;
}

function readKey({ key }: Readonly<Record<string, unknown>>): string {
  if (typeof key === "string") return key;
  throw new ChangeError(400, '"key" must be a string');
}

function reload(request: AdminRequest, parts: AdminParts): Promise<Response> {
  onlyKnown(request.body, []);
  const { target } = parts;
  const load = target.reload;
  if (load === null) throw new ChangeError(409, "There is no file to load the configuration from");
  return perform({ action: "reload", subject: "the configuration" }, request, parts, async () => {
    try {
      await load();
    } catch (error) {
      throw new ChangeError(409, messageOf(error));
    }
    return { generation: target.configuration.generation };
  });
}

function setLogLevel(request: AdminRequest, parts: AdminParts): Promise<Response> {
  onlyKnown(request.body, ["level"]);
  const level = LOG_LEVELS.find((each) => each === request.body.level) as LogLevel | undefined;
  if (level === undefined) {
    throw new ChangeError(400, `"level" must be one of ${LOG_LEVELS.map((each) => `"${each}"`).join(", ")}`);
  }
  const { target } = parts;
  if (target.logLevel === null) throw new ChangeError(409, "The log is not the proxy's own");
  return perform(
    { action: "set", subject: `the log level to ${level}` },
    request,
    parts,
    () => target.setLogLevel(level),
  );
}

function onlyKnown(body: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  const stray = Object.keys(body).find((name) => !known.includes(name));
  if (stray === undefined) return;
  const names = known.length === 0 ? "none is" : `known are ${known.map((name) => `"${name}"`).join(", ")}`;
  throw new ChangeError(400, `${JSON.stringify(stray.slice(0, 60))} is not a known member; ${names}`);
}

/** Runs an operation; a {@linkcode ChangeError} becomes a problem response. */
export async function runOperation(
  operation: Operation,
  request: AdminRequest,
  parts: AdminParts,
): Promise<Response> {
  try {
    return await operation.run(request, parts);
  } catch (error) {
    if (error instanceof ChangeError) return problem(error.status, error.message);
    throw error;
  }
}
