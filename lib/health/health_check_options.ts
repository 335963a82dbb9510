/** Options of active checks, and the probe for each type. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import type { Health, Server, Stage } from "../upstream/server.ts";
import type { CheckReach } from "./ejection.ts";
import { DEFAULT_STATUSES, httpCheck, type HttpCheckRequest } from "./http_check.ts";
import { grpcCheck, type GrpcCheckRequest } from "./grpc_check.ts";
import { type Probe, tcpCheck, tlsCheck } from "./probe.ts";

/** Checks by opening a TCP connection. */
export interface HealthCheckOptions {
  /** Type of the check. */
  type: "tcp";
  /** From the beginning of a check to the beginning of the next one. @default {"1s"} */
  interval?: Duration;
  /** Time after which a check has failed. @default {"1s"} */
  timeout?: Duration;
  /** Consecutive passes after which a server that was down is up. @default {1} */
  rise?: number;
  /** Consecutive failures after which a server that was up is down. @default {1} */
  fall?: number;
  /** Share of the interval to lengthen or shorten each one by at random, 0 to 1. @default {0.1} */
  jitter?: number;
  /** Port to check in place of the server's own. */
  port?: number;
}

/** Options that checks of every type have. */
export interface CheckPacing extends Omit<HealthCheckOptions, "type"> {
  /** Interval for servers that are down. @default {the interval} */
  unhealthyInterval?: Duration;
  /**
   * Health of a server before its first check. `"checking"`: it gets no requests, and the first check alone decides.
   * `"up"` and `"down"`: it takes `fall` or `rise` checks to change. @default {"checking"}
   */
  initial?: Health;
}

/**
 * Checks a server: `false` or an error means that it does not work, anything else that it works. The signal aborts when
 * the time of the check is over.
 */
export type CheckServer = (server: Server, signal: AbortSignal) => Promise<boolean | void>;

/** Active checks of every type: a TCP connection, a TLS handshake, an HTTP request, the health service of gRPC, or a function. */
export type ActiveCheckOptions =
  & CheckPacing
  & (
    | {
      /** What is tried: a TCP connection, a TLS handshake, an HTTP request, or `check`. */
      type: "tcp" | "tls";
    }
    | ({ type: "http" } & HttpCheckRequest)
    | ({ type: "grpc" } & GrpcCheckRequest)
    | {
      type: "custom";
      /** Checks a server, for the type `"custom"`. */
      check: CheckServer;
    }
  );

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
  /** What the probe tries. */
  readonly reach: CheckReach;
}

/**
 * Fills in the defaults.
 *
 * @throws {TypeError} when a duration or a status is invalid
 */
export function resolveHealthCheck(options: ActiveCheckOptions): ResolvedHealthCheck {
  const { type, interval = "1s", timeout = "1s", rise = 1, fall = 1, jitter = 0.1, port = null } = options;
  const { unhealthyInterval = interval, initial = "checking" } = options;
  return Object.freeze({
    type,
    intervalMs: milliseconds("interval", interval),
    unhealthyIntervalMs: milliseconds("unhealthyInterval", unhealthyInterval),
    timeoutMs: milliseconds("timeout", timeout),
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

/** How far a check of each type gets; a function counts as a request with a response. */
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

function milliseconds(option: string, value: Duration): number {
  const ms = parseDuration(value);
  if (ms !== undefined && ms > 0) return ms;
  throw new TypeError(
    `Cannot resolve health check: "${option}" must be ${DURATION_EXPECTED}, received ${
      JSON.stringify(value)
    }`,
  );
}
