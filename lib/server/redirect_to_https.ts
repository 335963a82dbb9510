/** Sends clients that came without TLS to where they are served with it. */

import { RequestError } from "../core/errors.ts";
import { readTarget } from "../http/request_target.ts";
import { answerFailure } from "../proxy/answer_failure.ts";
import type { Exchange } from "../proxy/exchange.ts";
import { handOverMeasured } from "../proxy/hand_over.ts";
import { makeState } from "../proxy/open_exchange.ts";

/**
 * Answers with the same host and target at `https`; 308, so that method and content stay as they are
 * (RFC 9110 section 15.4.9).
 *
 * The host is the client's own word. What is no plain host name or address would make a URL that leads elsewhere than
 * it looks, so it is refused, and the port in it is not taken over. Of the filters those of the configuration take part that
 * are there for every request: `newContext`, `ownResponseFilter`, `failToProxy` and `logging`.
 *
 * @param port where clients reach the listener with TLS
 */
export async function redirectToHttps(exchange: Exchange, port: number): Promise<Response> {
  try {
    const { received: { url }, entrance: { fallbackAuthority } } = exchange;
    makeState(exchange);
    const asked = readTarget(url, exchange.fields.host, fallbackAuthority);
    exchange.host = asked.host;
    exchange.target = asked.target;
    exchange.receivedTarget = asked.received;
    const name = hostName(asked.host);
    const location = `https://${name}${port === 443 ? "" : `:${port}`}${asked.target}`;
    const response = new Response(null, { status: 308, headers: { location, "content-length": "0" } });
    return handOverMeasured(exchange, { response, body: NOTHING });
  } catch (error) {
    return await answerFailure(exchange, error);
  }
}

const NOTHING = new Uint8Array();

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
