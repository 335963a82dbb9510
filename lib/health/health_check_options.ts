/** What an operator says about active checks. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/duration.ts";
import type { Health, Stage } from "../upstream/server.ts";
import { type CheckServer, customCheck } from "./custom_check.ts";
import type { CheckReach } from "./ejection.ts";
import { DEFAULT_STATUSES, httpCheck, type HttpCheckRequest } from "./http_check.ts";
import type { Probe } from "./probe.ts";
import { tcpCheck } from "./tcp_check.ts";
import { tlsCheck } from "./tls_check.ts";

/** Checks by opening a TCP connection. */
export interface HealthCheckOptions {
  /** Kind of check. */
  type: "tcp";
  /** From the beginning of a check to the beginning of the next one. @default {"1s"} */
  interval?: Duration;
  /** How long a check may take before it has failed. @default {"1s"} */
  timeout?: Duration;
  /** Consecutive passes after which a server that was down is up. @default {1} */
  rise?: number;
  /** Consecutive failures after which a server that was up is down. @default {1} */
  fall?: number;
  /** Share of the interval by which each one is made longer or shorter at random, 0 to 1. @default {0.1} */
  jitter?: number;
  /** Port to check in place of the server's own. */
  port?: number;
}

/** What checks of all kinds have in common. */
export interface CheckPacing extends Omit<HealthCheckOptions, "type"> {
  /** The interval for servers that are down. @default {the interval} */
  unhealthyInterval?: Duration;
  /**
   * What a server counts as before its first check: `"checking"` gets no requests and is what that check says,
   * `"up"` and `"down"` take `fall` and `rise` checks to change. @default {"checking"}
   */
  initial?: Health;
}

/** Active checks of every kind: a TCP connection, a TLS handshake, an HTTP request, or a function. */
export type ActiveCheckOptions =
  & CheckPacing
  & (
    | { type: "tcp" | "tls" }
    | ({ type: "http" } & HttpCheckRequest)
    | { type: "custom"; check: CheckServer }
  );

/** Active checks, complete. */
export interface ResolvedHealthCheck {
  readonly type: ActiveCheckOptions["type"];
  readonly intervalMs: number;
  readonly unhealthyIntervalMs: number;
  readonly timeoutMs: number;
  readonly rise: number;
  readonly fall: number;
  readonly jitter: number;
  readonly initial: Health;
  /** What is done, in words: `TCP connection`. */
  readonly subject: string;
  /** `null` is the port of the server. */
  readonly port: number | null;
  /** Looks at one server. */
  readonly probe: Probe;
  /** What that tries. */
  readonly reach: CheckReach;
}

/**
 * Completes the options of active checks.
 *
 * @throws {TypeError} when a duration or a status cannot be read
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

/** How far checks get; what a function tries is as good as a request. */
const STAGES: Readonly<Record<ActiveCheckOptions["type"], Stage>> = {
  tcp: "connect",
  tls: "tls",
  http: "response",
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
    case "custom":
      return customCheck(options.check);
  }
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
