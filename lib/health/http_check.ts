/** Whether a server answers as it should. */

import type { Server } from "../upstream/server.ts";
import { formatAddress } from "../upstream/address.ts";
import { HttpExchange } from "./http_exchange.ts";
import type { Probe } from "./probe.ts";
import { parseStatuses, type StatusRange } from "./status_ranges.ts";

/** What an answer's content has to be: contain a text, match an expression, or satisfy a function. */
export type BodyTest = string | RegExp | ((body: string) => boolean | Promise<boolean>);

/** What is asked, and what is expected. */
export interface HttpCheckRequest {
  /** Method of the request. @default {"GET"} */
  method?: string;
  /** Path and query. @default {"/"} */
  path?: string;
  /** Field `host`. @default {the name of the server's certificate, or its address} */
  host?: string;
  /** Further fields. @default {{}} */
  headers?: Readonly<Record<string, string>>;
  /** Statuses that pass, each a number or a range such as `"200-299"`; redirects are not followed. @default {["200-399"]} */
  expectedStatuses?: readonly (number | string)[];
  /** What the content has to be; it is read only for this. @default {anything} */
  body?: BodyTest;
  /** How much of the content is looked at, in bytes. @default {65536} */
  maxBodyBytes?: number;
  /** Whether the connection is kept for the next check, when the answer allows it. @default {false} */
  reuseConnection?: boolean;
}

/** Statuses that pass where nothing else is said. */
export const DEFAULT_STATUSES: readonly string[] = ["200-399"];

const USER_AGENT = "lbproxy-health-check";

/**
 * Makes a probe that asks over a connection of its own and looks at the answer; TLS for servers that have it.
 *
 * @param port where to connect in place of the server's own port; `null` is the server's
 * @throws {TypeError} when a status, or a field that would break the request, cannot be used
 */
export function httpCheck(options: HttpCheckRequest, port: number | null = null): Probe {
  const { expectedStatuses = DEFAULT_STATUSES, body, maxBodyBytes = 65_536, reuseConnection = false } =
    options;
  const ranges = parseStatuses(expectedStatuses);
  const exchange = new HttpExchange({
    headOf: requestHead(options),
    port,
    method: options.method ?? "GET",
    // A connection can only be kept once the whole answer was read.
    maxBodyBytes: body === undefined && !reuseConnection ? 0 : maxBodyBytes,
    reuseConnection,
  });
  const probe: Probe = async (server, signal) => {
    const response = await exchange.ask(server, signal);
    if (!isExpected(ranges, response.status)) throw new Error(`status ${response.status}`);
    if (body !== undefined && !await matches(body, response.body)) {
      throw new Error("the content is not as expected");
    }
  };
  probe.forget = (server) => exchange.forget(server);
  return probe;
}

/** Makes what is sent to a server. */
function requestHead(
  { method = "GET", path = "/", host, headers = {}, reuseConnection = false }: HttpCheckRequest,
): (server: Server) => string {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const named = Object.keys(headers).some((name) => name.toLowerCase() === "user-agent");
  const rest = `${named ? "" : `user-agent: ${USER_AGENT}\r\n`}accept-encoding: identity\r\n${
    reuseConnection ? "" : "connection: close\r\n"
  }${fields}\r\n`;
  const parts = [method, path, host ?? "", ...Object.entries(headers).flat()];
  for (const part of parts) {
    if (/[\r\n\0]/.test(part)) {
      throw new TypeError(`Cannot check by HTTP: expected no line break, received ${JSON.stringify(part)}`);
    }
  }
  return ({ peer: { address, tls } }) => {
    const name = host ?? tls?.serverName ?? (address.kind === "unix" ? "localhost" : formatAddress(address));
    return `${method} ${path} HTTP/1.1\r\nhost: ${name}\r\n${rest}`;
  };
}

function isExpected(ranges: readonly StatusRange[], status: number): boolean {
  return ranges.some(({ from, to }) => status >= from && status <= to);
}

async function matches(test: BodyTest, body: string): Promise<boolean> {
  if (typeof test === "string") return body.includes(test);
  // An expression with the flag g or y would go on where it ended last time.
  return typeof test === "function"
    ? await test(body)
    : new RegExp(test.source, test.flags.replace(/[gy]/g, "")).test(body);
}
