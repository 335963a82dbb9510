/** Requests of clients who ask at random moments. */

import type { Random } from "../core/random.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { SimulatedRequest } from "./simulated_request.ts";

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
