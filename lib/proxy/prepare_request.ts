/** Makes the request that goes to a server: a new object, from the client's. */

import { addForwarded, isForwardedField } from "../http/forwarded.ts";
import { HeaderFields } from "../http/header_fields.ts";
import { connectionNamedFields, isHopByHop } from "../http/hop_by_hop.ts";
import type { OutgoingRequest } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import { addHandshake } from "./read_upgrade.ts";
import { rewriteTarget, targetToSend } from "./rewrite_target.ts";

/**
 * Takes over method, target and fields; hop-by-hop fields and those that `Connection` names stay behind, and so does
 * what a client says of other proxies; `X-Forwarded-*` and the like are added.
 */
export function prepareRequest(exchange: Exchange): OutgoingRequest {
  const { method, host, body, fields, runtime: { forwardedFields, loopMark } } = exchange;
  const { list, connection, via, cdnLoop } = fields;
  const named = connectionNamedFields(connection);
  // A filter may have made content of another length.
  const keepsLength = body !== null && body.length !== null &&
    exchange.filters.requestBodyFilter === undefined;
  let fromProxy = via !== null;
  let kept = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (isForwardedField(name)) {
      fromProxy = true;
      continue;
    }
    if (staysBehind(name, keepsLength, loopMark !== null) || (named !== null && named.has(name))) continue;
    list[kept] = name;
    list[kept + 1] = list[i + 1]!;
    kept += 2;
  }
  list.length = kept;
  if (fields.host === null) list.push("host", host);
  addForwarded(list, forwardedFields, {
    identity: exchange.identity,
    host,
    via: named !== null && named.has("via") ? null : via,
  });
  loopMark?.add(list, cdnLoop, fromProxy);
  const { webSocket } = exchange;
  const target = rewriteTarget(exchange);
  if (webSocket !== null) addHandshake(list, webSocket);
  return {
    method,
    // A filter sees it first, for each attempt.
    target: exchange.filters.upstreamRequestFilter === undefined ? targetToSend(exchange, target) : target,
    headers: HeaderFields.adopt(list),
    body,
    upgrade: webSocket !== null,
  };
}

function staysBehind(name: string, keepsLength: boolean, marksLoops: boolean): boolean {
  switch (name) {
    case "via":
      // Comes back with the proxy's own entry.
      return true;
    case "cdn-loop":
      return marksLoops;
    case "expect":
      // The runtime has answered `100 (Continue)` itself by the time the content is read.
      return true;
    case "content-length":
      return !keepsLength;
    default:
      return isHopByHop(name);
  }
}
