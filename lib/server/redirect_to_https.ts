/** Sends clients that came without TLS to where they are served with it. */

import { RequestError } from "../core/errors.ts";
import { problemResponse } from "../http/problem_response.ts";
import { readTarget } from "../http/request_target.ts";
import type { Entrance } from "../proxy/exchange.ts";

/**
 * Answers with the same host and target at `https`; 308, so that method and content stay as they are
 * (RFC 9110 section 15.4.9).
 *
 * The host is the client's own word. What is no plain host name or address would make a URL that leads elsewhere than
 * it looks, so it is refused, and the port in it is not taken over.
 *
 * @param port where clients reach the listener with TLS
 */
export function redirectToHttps(request: Request, entrance: Entrance, port: number): Response {
  try {
    const { host, target } = readTarget(request.url, request.headers.get("host"), entrance.fallbackAuthority);
    const name = hostName(host);
    const location = `https://${name}${port === 443 ? "" : `:${port}`}${target}`;
    return new Response(null, { status: 308, headers: { location, "content-length": "0" } });
  } catch (error) {
    if (error instanceof RequestError) return problemResponse(error);
    throw error;
  }
}

/** The host without its port. */
function hostName(host: string): string {
  const name = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)(?::\d*)?$/.exec(host)?.[1];
  if (name === undefined) {
    throw new RequestError(
      `The Host field must be a host name or an address, received ${JSON.stringify(host)}`,
    );
  }
  return name;
}
