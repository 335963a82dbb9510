/** Requests to replay: from a program, generated, or read from JSON lines. */

import type { Random } from "../core/random.ts";
import { parseDuration } from "../core/units.ts";
import { isToken } from "../http/header_fields.ts";
import type { KeySource } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { headerOf } from "../observe/access_log_options.ts";
import { escapeControls } from "../observe/text_format.ts";

/** One request of a trace. */
export interface SimulatedRequest {
  /** Milliseconds from the start of the trace. */
  readonly atMs: number;
  /** Address of the client. @default {"192.0.2.1"} */
  readonly ip?: string;
  /** Method. @default {"GET"} */
  readonly method?: string;
  /** Path and query. @default {"/"} */
  readonly target?: string;
  /** Field `Host`. @default {"localhost"} */
  readonly host?: string;
  /** Additional fields. @default {{}} */
  readonly headers?: Readonly<Record<string, string>>;
  /** Duration of the request after it is admitted, for policies that hold permits or charge for time. @default {0} */
  readonly durationMs?: number;
  /** Status of the response, for policies that charge by status. @default {200} */
  readonly status?: number;
  /** Bytes of the response, for policies that charge by bytes. @default {0} */
  readonly bytes?: number;
}

/** The context of a replayed request for functions of the configuration, as far as a replay can provide it. */
export class SimulatedContext implements KeySource {
  readonly request: Request;
  readonly clientIp: string;
  readonly client: { readonly ip: string; readonly port: number };
  readonly target: string;
  readonly host: string;
  readonly method: string;
  readonly requestId: string;
  readonly status: number;
  readonly bytesSent: number;
  readonly timings: { upstreamStartMs: number | null; upstreamHeadMs: number | null; endMs: number | null };
  /** Name of the matching route; `null` if there is none. */
  route: string | null = null;
  state: unknown = undefined;

  /** @param number number of the request in the trace, from 1 */
  constructor(replayed: SimulatedRequest, number: number) {
    const { ip = "192.0.2.1", method = "GET", target = "/", host = "localhost", headers = {} } = replayed;
    const { durationMs = 0, status = 200, bytes = 0 } = replayed;
    this.request = new Request(`http://${host}${target}`, { method, headers: { host, ...headers } });
    this.clientIp = ip;
    this.client = { ip, port: 0 };
    this.target = target;
    this.host = host;
    this.method = method;
    this.requestId = number.toString(36);
    this.status = status;
    this.bytesSent = bytes;
    this.timings = { upstreamStartMs: 0, upstreamHeadMs: durationMs, endMs: durationMs };
  }
}

// Generated requests of clients at random times.

/** Parameters of generated traffic. */
interface Traffic {
  /** Requests per second of all clients together. */
  readonly perSecond: number;
  /** Number of clients; all send requests equally often. */
  readonly keys: number;
  /** Duration in milliseconds. */
  readonly forMs: number;
  readonly random: Random;
}

/**
 * Generates requests that arrive independently of each other (a Poisson process), each from a random client. Clients differ
 * in the keys of the policies: address, fields, cookies, queries, paths and hosts.
 */
export function* generateTraffic(
  { perSecond, keys, forMs, random }: Traffic,
  policies: readonly ResolvedPolicy[],
): Generator<SimulatedRequest> {
  const clients = Array.from({ length: keys }, (_, number) => clientOf(number, policies));
  const meanMs = 1000 / perSecond;
  for (let atMs = randomGap(meanMs, random); atMs < forMs; atMs += randomGap(meanMs, random)) {
    yield { atMs, ...clients[Math.floor(random() * keys)]! };
  }
}

function randomGap(meanMs: number, random: Random): number {
  return -Math.log(1 - random()) * meanMs;
}

function clientOf(number: number, policies: readonly ResolvedPolicy[]): Omit<SimulatedRequest, "atMs"> {
  const value = `client-${number}`;
  const headers: Record<string, string> = {};
  let query = "";
  let path = "/";
  let host = "localhost";
  for (const key of policies.flatMap(({ keySpec }) => typeof keySpec === "function" ? [] : keySpec)) {
    const name = key.slice(key.indexOf(":") + 1);
    if (key.startsWith("header:")) headers[name] = value;
    else if (key.startsWith("cookie:")) headers.cookie = `${headers.cookie ?? ""}${name}=${value}; `;
    else if (key.startsWith("query:")) {
      query += `${query === "" ? "?" : "&"}${encodeURIComponent(name)}=${value}`;
    } else if (key === "path") path = `/${value}`;
    else if (key === "host") host = `${value}.example`;
  }
  return { ip: addressOf(number), headers, target: path + query, host };
}

/** An address in 10.0.0.0/8 (RFC 1918); distinct for the first 2^24 numbers. */
function addressOf(number: number): string {
  return `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
}

// Traces as JSON lines.

/** A line of a trace cannot be replayed. */
export class TraceError extends Error {
  /** Name of the class. */
  override readonly name = "TraceError";
}

/** How many mistakes of a trace are listed. */
const MAX_PROBLEMS = 10;

/**
 * Reads one request per line, and sorts them by time. A line is a JSON object with `at` (a duration from the start) or
 * `time` (a date), and optionally `ip` or `client`, `method`, `target`, `host`, `headers`, `duration` or `durationMs`,
 * `status`, `bytes`, and fields of an access log: `header:NAME`, `userAgent`, `referer`. So the JSON access log of the
 * proxy is a trace; lines with another `kind` are skipped.
 *
 * @param where name of the trace, for messages
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

/** Converts dates to milliseconds from the earliest one. */
function fromItsBeginning(requests: SimulatedRequest[]): SimulatedRequest[] {
  requests.sort((a, b) => a.atMs - b.atMs);
  const first = requests[0]?.atMs ?? 0;
  // Values of this size (years) are dates; `at` is relative.
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
  const headers = { ...loggedHeaders(fields), ...fields.headers as Record<string, string> | undefined };
  return findProblem(fields) ?? {
    atMs,
    ...textOf("ip", fields.ip ?? fields.client),
    ...textOf("method", fields.method),
    ...textOf("target", fields.target),
    ...textOf("host", fields.host),
    ...numberOf("durationMs", parseDuration(fields.duration ?? fields.durationMs)),
    ...numberOf("status", fields.status),
    ...numberOf("bytes", fields.bytes),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
  };
}

/** Fields of the request from an access log. */
function loggedHeaders(fields: Readonly<Record<string, unknown>>): Record<string, string> {
  const found: Record<string, string> = {
    ...textOf("user-agent", fields.userAgent),
    ...textOf("referer", fields.referer),
  };
  for (const [member, value] of Object.entries(fields)) {
    const name = headerOf(member);
    if (name !== null && isToken(name) && typeof value === "string") found[name] = value;
  }
  return found;
}

function readMoment({ at, time }: Record<string, unknown>): number | undefined {
  if (at !== undefined) return parseDuration(at);
  const date = typeof time === "string" ? Date.parse(time) : NaN;
  return Number.isNaN(date) ? undefined : date;
}

function findProblem({ target, headers, duration, method }: Record<string, unknown>): string | undefined {
  if (target !== undefined && !(typeof target === "string" && target.startsWith("/"))) {
    return `"target" must be a path that begins with "/", received ${display(target)}`;
  }
  if (method !== undefined && !(typeof method === "string" && /^[A-Za-z-]+$/.test(method))) {
    return `"method" must be a method, received ${display(method)}`;
  }
  if (duration !== undefined && parseDuration(duration) === undefined) {
    return `"duration" must be a duration such as "20ms", received ${display(duration)}`;
  }
  if (headers === undefined) return undefined;
  const texts = typeof headers === "object" && headers !== null && !Array.isArray(headers) &&
    Object.values(headers).every((value) => typeof value === "string");
  return texts ? undefined : '"headers" must be an object of texts';
}

/** Escapes control characters: values of a trace are from clients, and a terminal would execute escape sequences. */
function display(value: unknown): string {
  return escapeControls(JSON.stringify(value));
}

function textOf<Name extends string>(name: Name, value: unknown): { [key in Name]?: string } {
  return (typeof value === "string" && value !== "" ? { [name]: value } : {}) as { [key in Name]?: string };
}

function numberOf<Name extends string>(name: Name, value: unknown): { [key in Name]?: number } {
  return (typeof value === "number" ? { [name]: value } : {}) as { [key in Name]?: number };
}
