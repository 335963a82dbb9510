/** A request as it is replayed. */

import type { KeySource } from "../limiter/key_spec.ts";

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
  /** How long the request runs once it is admitted, for policies that hold places or charge for time. @default {0} */
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
