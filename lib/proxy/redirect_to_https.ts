/** Sends clients that came without TLS to where they are served with it. */

import { RequestError } from "../core/errors.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { ClientStream } from "./client_stream.ts";
import { Exchange, type ExchangeRuntime } from "./exchange.ts";
import { failExchange, replyLocally } from "./local_reply.ts";
import { makeState } from "./open_exchange.ts";

/**
 * Replies with the same host and target at `https`; 308, so that method and content stay as they are
 * (RFC 9110 section 15.4.9).
 *
 * The host is the client's own word. What is no plain host name or address would make a URL that leads elsewhere than
 * it looks, so it is refused, and the port in it is not taken over. Of the filters only those take part that are there for
 * every request: `newContext`, `ownResponseFilter`, `failToProxy` and `logging`.
 *
 * @param port where clients reach the listener with TLS
 */
export function redirectToHttps(stream: ClientStream, port: number, runtime: ExchangeRuntime): void {
  const exchange = new Exchange(runtime, stream);
  try {
    makeState(exchange);
    const headers = new HeaderFields();
    const portPart = port === 443 ? "" : `:${port}`;
    headers.list.push("location", `https://${hostName(exchange.host)}${portPart}${exchange.target}`);
    replyLocally(exchange, { status: 308, headers, body: null });
  } catch (error) {
    failExchange(exchange, error);
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
