/** A request as it is replayed. */

import type { Random } from "../core/random.ts";
import type { KeySource } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";

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
