/** Makes the request that goes to a server, from the client's. */

import { FilterError } from "../core/errors.ts";
import { addForwarded, removeForwarded } from "../http/forwarded.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { removeHopByHop } from "../http/hop_by_hop.ts";
import type { RequestBody } from "../http/message.ts";
import { asciiTarget } from "../http/request_target.ts";
import { isOriginForm } from "../routing/rewrite.ts";
import type { OutgoingRequest, TargetBytes } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import { addHandshake } from "./read_upgrade.ts";

/**
 * Takes over method, target and fields; hop-by-hop fields and those that `Connection` names stay behind, and so does
 * what a client says of other proxies; `X-Forwarded-*` and `Via` are added.
 */
export function prepareRequest(exchange: Exchange): void {
  const { method, stream, body, webSocket, runtime: { forwardedFields } } = exchange;
  const headers = stream.outgoingHeaders();
  removeHopByHop(headers);
  // Whether it waits for its content is between the transport and the server.
  headers.delete("expect");
  const via = removeForwarded(headers);
  if (!headers.has("host")) headers.list.push("host", exchange.host);
  addForwarded(headers.list, forwardedFields, { identity: exchange.identity, host: exchange.host, via });
  if (webSocket !== null) addHandshake(headers, webSocket);
  const target = rewrittenTarget(exchange);
  exchange.outgoing = new PreparedRequest(exchange, headers, body, target);
}

/** The same for each attempt; a filter gets a copy. */
class PreparedRequest implements OutgoingRequest {
  method: string;
  readonly headers: HeaderFields;
  readonly body: RequestBody | null;
  readonly upgrade: boolean;
  readonly expectsContinue: boolean;
  readonly targetBytes: TargetBytes | null;
  readonly #exchange: Exchange;
  readonly #target: string | null;

  constructor(exchange: Exchange, headers: HeaderFields, body: RequestBody | null, target: string | null) {
    const { stream } = exchange;
    this.#exchange = exchange;
    this.#target = target;
    this.method = exchange.method;
    this.headers = headers;
    this.body = body;
    this.upgrade = exchange.webSocket !== null;
    this.expectsContinue = stream.expectsContinue;
    this.targetBytes = target === null ? stream.targetBytes : null;
  }

  // As it came where nobody changes it; most transports need no text of it.
  get target(): string {
    return this.#target ?? this.#exchange.stream.receivedTarget;
  }
}

/**
 * The target that the route makes; `null` when it is the client's.
 *
 * @throws {FilterError} when the function of the route throws or makes no target
 */
function rewrittenTarget(exchange: Exchange): string | null {
  const rewrite = exchange.matched?.rewrite ?? null;
  if (rewrite === null) return null;
  const { target } = exchange;
  let made: unknown;
  try {
    made = rewrite(target, exchange);
  } catch (error) {
    throw new FilterError("rewrite", error);
  }
  if (made === target) return null;
  if (typeof made === "string") made = asciiTarget(made);
  if (isOriginForm(made)) return made;
  throw new FilterError(
    "rewrite",
    new TypeError(`it must make a path that begins with a slash, made ${JSON.stringify(made)}`),
  );
}
