/** Reads requests to replay from JSON lines. */

import { escapeControls } from "../observe/text_format.ts";
import { parseDuration } from "../core/units.ts";
import type { SimulatedRequest } from "./simulated_request.ts";

/** A line of a trace cannot be replayed. */
export class TraceError extends Error {
  /** Name of the class. */
  override readonly name = "TraceError";
}

/** How many mistakes are told of one trace. */
const MAX_PROBLEMS = 10;

/**
 * Reads one request a line, sorted by time. A line is an object with `at` (a duration since the beginning) or `time`
 * (a date), and what else is known: `ip` or `client`, `method`, `target`, `host`, `headers`, `duration` or
 * `durationMs`, `status`, `bytes`. That makes the JSON access log of the proxy itself a trace; its other lines, which
 * have another `kind`, are passed over.
 *
 * @param where what the trace is called in messages
 * @throws {TraceError} when lines cannot be read; it lists the first ten of them
 */
export function readTrace(text: string, where: string): SimulatedRequest[] {
  const requests: SimulatedRequest[] = [];
  const problems: string[] = [];
  let number = 0;
  for (const line of text.split("\n")) {
    number++;
    if (line.trim() === "") continue;
    const read = readLine(line);
    if (typeof read === "string") problems.push(`line ${number}: ${read}`);
    else if (read !== null) requests.push(read);
  }
  if (problems.length > 0) throw new TraceError(`Cannot replay ${where}: ${listed(problems)}`);
  return fromItsBeginning(requests);
}

function listed(problems: readonly string[]): string {
  if (problems.length === 1) return problems[0]!;
  const shown = problems.slice(0, MAX_PROBLEMS).map((problem) => `\n  ${problem}`).join("");
  return `${problems.length} lines${shown}${problems.length > MAX_PROBLEMS ? "\n  ..." : ""}`;
}

/** Dates become distances from the earliest one. */
function fromItsBeginning(requests: SimulatedRequest[]): SimulatedRequest[] {
  requests.sort((a, b) => a.atMs - b.atMs);
  const first = requests[0]?.atMs ?? 0;
  // Nobody writes `at` of years; dates are.
  if (first < 1e11) return requests;
  return requests.map((request) => ({ ...request, atMs: request.atMs - first }));
}

function readLine(line: string): SimulatedRequest | string | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "is not JSON; a trace has one JSON object in each line, as a log with --log-format json has";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "is not an object";
  const fields = value as Record<string, unknown>;
  if (fields.kind !== undefined && fields.kind !== "access") return null;
  const atMs = readMoment(fields);
  if (atMs === undefined) return 'needs "at" (such as "1.5s", or milliseconds) or "time" (a date)';
  return findProblem(fields) ?? {
    atMs,
    ...textOf("ip", fields.ip ?? fields.client),
    ...textOf("method", fields.method),
    ...textOf("target", fields.target),
    ...textOf("host", fields.host),
    ...numberOf("durationMs", parseDuration(fields.duration ?? fields.durationMs)),
    ...numberOf("status", fields.status),
    ...numberOf("bytes", fields.bytes),
    ...(fields.headers === undefined ? {} : { headers: fields.headers as Record<string, string> }),
  };
}

function readMoment({ at, time }: Record<string, unknown>): number | undefined {
  if (at !== undefined) return parseDuration(at);
  const date = typeof time === "string" ? Date.parse(time) : NaN;
  return Number.isNaN(date) ? undefined : date;
}

function findProblem({ target, headers, duration, method }: Record<string, unknown>): string | undefined {
  if (target !== undefined && !(typeof target === "string" && target.startsWith("/"))) {
    return `"target" must be a path that begins with "/", received ${shown(target)}`;
  }
  if (method !== undefined && !(typeof method === "string" && /^[A-Za-z-]+$/.test(method))) {
    return `"method" must be a method, received ${shown(method)}`;
  }
  if (duration !== undefined && parseDuration(duration) === undefined) {
    return `"duration" must be a duration such as "20ms", received ${shown(duration)}`;
  }
  if (headers === undefined) return undefined;
  const texts = typeof headers === "object" && headers !== null && !Array.isArray(headers) &&
    Object.values(headers).every((value) => typeof value === "string");
  return texts ? undefined : '"headers" must be an object of texts';
}

/** What stands in a trace comes from clients, and a terminal obeys some of it. */
function shown(value: unknown): string {
  return escapeControls(JSON.stringify(value));
}

function textOf<Name extends string>(name: Name, value: unknown): { [key in Name]?: string } {
  return (typeof value === "string" && value !== "" ? { [name]: value } : {}) as { [key in Name]?: string };
}

function numberOf<Name extends string>(name: Name, value: unknown): { [key in Name]?: number } {
  return (typeof value === "number" ? { [name]: value } : {}) as { [key in Name]?: number };
}
