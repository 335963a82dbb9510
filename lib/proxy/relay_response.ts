/** Gives a server's answer to the client. */

import { UpstreamError } from "../core/errors.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { removeHopByHop } from "../http/hop_by_hop.ts";
import { hasNoContent, makeResponse } from "../http/make_response.ts";
import type { UpstreamResponse } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import { endReset } from "./hand_over.ts";
import { settleExchange } from "./settle_exchange.ts";
import { upgradeWebSocket } from "./upgrade_web_socket.ts";

/**
 * Turns the answer into what the runtime sends: hop-by-hop fields off, everything else as it came.
 *
 * The exchange is settled here when the whole content is at hand, and by the transport when it is a stream.
 *
 * @throws {UpstreamError} 502 for a status that cannot be passed on
 */
export function relayResponse(exchange: Exchange, upstream: UpstreamResponse): Response {
  const { status, headers, body } = upstream;
  if (upstream.tunnel !== undefined) return upgradeWebSocket(exchange, upstream, upstream.tunnel);
  if (status < 200 || status > 599) {
    throw new UpstreamError(`The server answered with the status ${status}`, {
      code: "http_protocol_error",
      phase: "answered",
    });
  }
  const { list } = headers;
  removeHopByHop(list);
  const content = hasNoContent(status) ? null : body ?? lengthlessContent(exchange, headers);
  const response = makeResponse(status, list, content);
  const whole = body instanceof Uint8Array ? body : null;
  if (upstream.lender !== undefined && whole !== null) {
    // The runtime has made a copy (Fetch standard, "extract a body").
    upstream.body = null;
    upstream.lender.giveBack(whole);
  }
  exchange.status = status;
  if (body !== null && whole === null && !hasNoContent(status)) {
    exchange.unreadBody = null;
  } else {
    exchange.bytesSent = whole === null ? 0 : whole.byteLength;
    // The content came with the head: without a filter in between that moment is the end, and the clock is not asked.
    if (!exchange.filtersResponse) exchange.endAt = exchange.upstreamHeadAt;
    settleExchange(exchange, null);
  }
  return status === 205 ? endReset(exchange, response) : response;
}

/**
 * An answer to HEAD says of the length what GET would say, or nothing (RFC 9110 section 8.6); of one without content the
 * runtime says 0, of a stream nothing.
 */
function lengthlessContent({ method }: Exchange, headers: HeaderFields): ReadableStream | null {
  if (method !== "HEAD" || headers.has("content-length")) return null;
  return new ReadableStream({ pull: (controller) => controller.close() }, { highWaterMark: 0 });
}
