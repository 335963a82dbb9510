/** Options of active checks, and the probe for each type. */

import {
  choose,
  DURATION_ABOVE_0,
  FLAG,
  FUNCTION,
  isRecord,
  must,
  object,
  ofType,
  oneOf,
  PORT,
  required,
  type Rule,
  type Rules,
  SHARE,
  text,
  whole,
  word,
} from "../core/options.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import type { Health, Server, Stage } from "../upstream/server.ts";
import type { CheckReach } from "./ejection.ts";
import { isFieldValue, isToken } from "../http/header_fields.ts";
import {
  DEFAULT_STATUSES,
  httpCheck,
  type HttpCheckRequest,
  parseStatuses,
  STATUSES_EXPECTED,
} from "./http_check.ts";
import { grpcCheck, type GrpcCheckRequest } from "./grpc_check.ts";
import { type Probe, tcpCheck, tlsCheck } from "./probe.ts";

/** Options of checks of every type. */
export type CheckPacing = Pick<
  ActiveCheckOptions,
  "interval" | "unhealthyInterval" | "timeout" | "rise" | "fall" | "jitter" | "port" | "initial"
>;

/** Checks a server. */
export type CheckServer = Extract<ActiveCheckOptions, { type: "custom" }>["check"];

/**
 * Active checks of every type: a TCP connection, a TLS handshake, an HTTP request, the health service of gRPC, or a
 * function.
 *
 * @example A request every five seconds
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     servers: ["127.0.0.1:9001", "127.0.0.1:9002"],
 *     healthCheck: { type: "http", path: "/healthz", interval: "5s", timeout: "1s", fall: 2 },
 *   },
 * });
 * ```
 */
export type ActiveCheckOptions =
  & {
    /** Time from the start of a check to the start of the next one. @default {"1s"} */
    interval?: Duration;
    /** Time after which a check has failed. @default {"1s"} */
    timeout?: Duration;
    /** Successes in a row after which an unhealthy server is healthy. @default {1} */
    rise?: number;
    /** Failures in a row after which a healthy server is unhealthy. @default {1} */
    fall?: number;
    /** Largest random change of each interval, as a share of it, 0 to 1. @default {0.1} */
    jitter?: number;
    /** Port to check in place of the server's own. @default {the port of the server} */
    port?: number;
    /** Interval for servers that are down. @default {the interval} */
    unhealthyInterval?: Duration;
    /**
     * Health of a server before its first check. `"checking"`: it gets no requests, and the first check alone decides.
     * `"up"` and `"down"`: it takes `fall` or `rise` checks to change. @default {"checking"}
     */
    initial?: "up" | "down" | "checking";
  }
  & (
    | {
      /** Type of the check: a TCP connection, a TLS handshake, an HTTP request, the gRPC health service, or `check`. */
      type: "tcp" | "tls";
    }
    | ({ type: "http" } & HttpCheckRequest)
    | {
      type: "grpc";
      /** The service whose state is requested; `""` is the server as a whole. @default {""} */
      service?: string;
      /** The authority of the request. @default {the name of the server's certificate, or its address} */
      host?: string;
    }
    | {
      type: "custom";
      /**
       * Checks a server, for the type `"custom"`: `false` or an error is a failure, anything else a success. The
       * signal aborts at the timeout of the check.
       */
      check: (server: Server, signal: AbortSignal) => Promise<boolean | void>;
    }
  );

const TYPES = [
  "tcp",
  "tls",
  "http",
  "grpc",
  "custom",
] as const satisfies readonly ActiveCheckOptions["type"][];
const EXPECTED = `an object such as { type: "http", path: "/health" }, with a "type" (${
  oneOf(TYPES)
}), or a function`;

const PACING: Rules<CheckPacing> = {
  interval: DURATION_ABOVE_0,
  unhealthyInterval: DURATION_ABOVE_0,
  timeout: DURATION_ABOVE_0,
  rise: whole(1),
  fall: whole(1),
  jitter: SHARE,
  port: PORT,
  initial: word(["checking", "up", "down"]),
};

const HOST = text('a host such as "api.example"', (host) => /^[\x21-\x7e]+$/.test(host));

const REQUEST: Rules<HttpCheckRequest> = {
  method: text('a method such as "GET"', isToken),
  path: text('a path such as "/health"', (path) => /^\/[\x21-\x7e]*$/.test(path)),
  host: HOST,
  headers: must(areHeaders, "an object of field names and their values"),
  expectedStatuses: must(areStatuses, `an array of ${STATUSES_EXPECTED}`),
  body: must(
    (body) => typeof body === "string" || body instanceof RegExp || typeof body === "function",
    "a text, a regular expression or a function",
  ),
  maxBodyBytes: whole(1),
  reuseConnection: FLAG,
};

function areHeaders(value: unknown): boolean {
  return isRecord(value) &&
    Object.entries(value).every(([name, text]) =>
      isToken(name) && typeof text === "string" && isFieldValue(text)
    );
}

function areStatuses(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  try {
    parseStatuses(value);
    return true;
  } catch {
    return false;
  }
}

const SERVICE = text('a service such as "package.Service"');

const TYPE = required(word(TYPES));
const PLAIN = object<{ type: string } & CheckPacing>({ type: TYPE, ...PACING }, EXPECTED);
const BY_TYPE: Readonly<Record<ActiveCheckOptions["type"], Rule>> = {
  tcp: PLAIN,
  tls: PLAIN,
  http: object<{ type: string } & CheckPacing & HttpCheckRequest>(
    { type: TYPE, ...PACING, ...REQUEST },
    EXPECTED,
    {
      check({ method, body }, report) {
        if (method !== "HEAD" || body === undefined) return;
        report('is not possible where "method" is "HEAD", whose responses have none', "body");
      },
    },
  ),
  grpc: object<{ type: string } & CheckPacing & GrpcCheckRequest>(
    { type: TYPE, ...PACING, service: SERVICE, host: HOST },
    EXPECTED,
  ),
  custom: object<{ type: string; check: unknown } & CheckPacing>(
    { type: TYPE, ...PACING, check: required(FUNCTION) },
    EXPECTED,
  ),
};

/** Without a type, only the type is reported: the other options may be valid for the type that is meant. */
const WITHOUT_TYPE = object<
  { type: string; check?: unknown } & CheckPacing & HttpCheckRequest & GrpcCheckRequest
>(
  { type: TYPE, ...PACING, ...REQUEST, service: SERVICE, check: FUNCTION },
  EXPECTED,
);

/** Validates {@linkcode ActiveCheckOptions}, or a check function. */
export const HEALTH_CHECK: Rule = choose((value) => {
  if (typeof value === "function") return FUNCTION;
  const type = isRecord(value) ? value.type : undefined;
  if (type === undefined) return WITHOUT_TYPE;
  // The allowed options depend on the type.
  return BY_TYPE[type as ActiveCheckOptions["type"]] ?? ofType(TYPE);
});

/** {@linkcode ActiveCheckOptions} with all defaults. */
export interface ResolvedHealthCheck {
  readonly type: ActiveCheckOptions["type"];
  readonly intervalMs: number;
  readonly unhealthyIntervalMs: number;
  readonly timeoutMs: number;
  readonly rise: number;
  readonly fall: number;
  readonly jitter: number;
  readonly initial: Health;
  /** Describes the check for operators, such as `TCP connection`. */
  readonly subject: string;
  /** Port to check; `null` is the port of the server. */
  readonly port: number | null;
  /** Checks one server. */
  readonly probe: Probe;
  /** What the probe tests. */
  readonly reach: CheckReach;
}

/** Adds the defaults to valid options. */
export function resolveHealthCheck(check: ActiveCheckOptions | CheckServer): ResolvedHealthCheck {
  const options: ActiveCheckOptions = typeof check === "function" ? { type: "custom", check } : check;
  const { type, interval = "1s", timeout = "1s", rise = 1, fall = 1, jitter = 0.1, port = null } = options;
  const { unhealthyInterval = interval, initial = "checking" } = options;
  return Object.freeze({
    type,
    intervalMs: parseDuration(interval)!,
    unhealthyIntervalMs: parseDuration(unhealthyInterval)!,
    timeoutMs: parseDuration(timeout)!,
    rise,
    fall,
    jitter,
    initial,
    subject: describeSubject(options),
    port,
    probe: createProbe(options, port),
    reach: Object.freeze({ stage: STAGES[type], samePort: port === null }),
  });
}

/** The stage that a check of each type reaches; a function counts as a request with a response. */
const STAGES: Readonly<Record<ActiveCheckOptions["type"], Stage>> = {
  tcp: "connect",
  tls: "tls",
  http: "response",
  grpc: "response",
  custom: "response",
};

function createProbe(options: ActiveCheckOptions, port: number | null): Probe {
  switch (options.type) {
    case "tcp":
      return tcpCheck(port);
    case "tls":
      return tlsCheck(port);
    case "http":
      return httpCheck(options, port);
    case "grpc":
      return grpcCheck(options, port);
    case "custom":
      return customCheck(options.check);
  }
}

function customCheck(check: CheckServer): Probe {
  return async (server, signal) => {
    if (await check(server, signal) === false) throw new Error("the check returned false");
  };
}

function describeSubject(options: ActiveCheckOptions): string {
  switch (options.type) {
    case "tcp":
      return "TCP connection";
    case "tls":
      return "TLS handshake";
    case "http": {
      const { method = "GET", path = "/", expectedStatuses = DEFAULT_STATUSES, body } = options;
      const content = body === undefined ? "" : " and the expected content";
      return `HTTP ${method} ${path} with status ${expectedStatuses.join(", ")}${content}`;
    }
    case "grpc":
      return `gRPC health of ${
        options.service === undefined || options.service === "" ? "the server" : options.service
      }`;
    case "custom":
      return "function";
  }
}
