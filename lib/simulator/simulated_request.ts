/** Requests to replay: written out, generated, or read from JSON lines. */

import type { Random } from "../core/random.ts";
import { parseDuration } from "../core/units.ts";
import { isToken } from "../http/header_fields.ts";
import type { KeySource } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { headerOf } from "../observe/access_log_options.ts";
import { escapeControls } from "../observe/text_format.ts";

/** One request of a trace; what is left out has a default. */
export interface SimulatedRequest {
  /** Milliseconds since the trace began. */
  readonly atMs: number;
  /** Address of the client. @default {"192.0.2.1"} */
  readonly ip?: string;
  /** Method. @default {"GET"} */
  readonly method?: string;
  /** Path and query. @default {"/"} */
  readonly target?: string;
  /** Field `Host`. @default {"localhost"} */
  readonly host?: string;
  /** Further fields. @default {{}} */
  readonly headers?: Readonly<Record<string, string>>;
  /** How long the request runs once it is admitted, for policies that hold permits or charge for time. @default {0} */
  readonly durationMs?: number;
  /** Status of its response, for policies that charge by it. @default {200} */
  readonly status?: number;
  /** Bytes of its response, for policies that charge by them. @default {0} */
  readonly bytes?: number;
}

/** What functions of a configuration see of a replayed request; the part of their context that a replay knows. */
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
  /** Name of the route that takes the request; `null` where there is none. */
  route: string | null = null;
  state: unknown = undefined;

  /** @param number which request of the trace it is */
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

// Requests of clients who ask at random moments.

/** Traffic to be made up. */
interface Traffic {
  /** Requests a second, of all clients together. */
  readonly perSecond: number;
  /** How many clients there are, all as likely to ask. */
  readonly keys: number;
  /** For how long. */
  readonly forMs: number;
  readonly random: Random;
}

/**
 * Makes requests that come independently of each other (a Poisson process), each by one of the clients, who differ in
 * whatever the policies count by: address, fields, cookies, queries, paths and hosts.
 */
export function* generateTraffic(
  { perSecond, keys, forMs, random }: Traffic,
  policies: readonly ResolvedPolicy[],
): Generator<SimulatedRequest> {
  const clients = Array.from({ length: keys }, (_, number) => clientOf(number, policies));
  const meanMs = 1000 / perSecond;
  for (let atMs = wait(meanMs, random); atMs < forMs; atMs += wait(meanMs, random)) {
    yield { atMs, ...clients[Math.floor(random() * keys)]! };
  }
}

function wait(meanMs: number, random: Random): number {
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

/** One of the addresses for private networks (RFC 1918), another one for each of the first 2^24 numbers. */
function addressOf(number: number): string {
  return `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
}

// Reads requests to replay from JSON lines.

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
 * `durationMs`, `status`, `bytes`, and fields of an access log: `header:NAME`, `userAgent`, `referer`. That makes the JSON access log of the proxy itself a trace; its other lines, which
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

/** Fields of the request that an access log has. */
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
