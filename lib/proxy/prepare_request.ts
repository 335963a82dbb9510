/** Makes the request that goes to a server, from the client's. */

import { unexpected } from "../core/callback.ts";
import { FilterError } from "../core/errors.ts";
import { addForwarded, removeForwarded } from "../http/forwarded.ts";
import { setClientCert } from "../http/client_certificate.ts";
import { EXPECT_GROUP } from "../http/field_lines.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { removeHopByHop } from "../http/hop_by_hop.ts";
import type { ProxyAddresses } from "../http1/proxy_protocol.ts";
import type { RequestBody } from "../http/message.ts";
import { asciiTarget } from "../http/request_target.ts";
import { isOriginForm } from "../routing/rewrite.ts";
import type { TargetBytes } from "../transport/transport.ts";
import type { Exchange, PreparedRequest } from "./exchange.ts";
import { addUpgrade } from "./upgrade.ts";

/**
 * Takes over method, target and fields; hop-by-hop fields and those that `Connection` names stay behind, and so does
 * what a client says of other proxies; `X-Forwarded-*` and the like are added.
 */
export function prepareRequest(exchange: Exchange): void {
  const { stream, body, host, pool, runtime: { forwardedFields, loopMark } } = exchange;
  const headers = stream.outgoingHeaders();
  const { via, fromProxy } = removeForwarded(headers);
  const takesTrailers = pool.transport.carriesTrailers === true && headers.get("te") === "trailers";
  const named = removeHopByHop(headers);
  // Whether it waits for its content is between the transport and the server.
  if (headers.mayHave(EXPECT_GROUP)) headers.delete("expect");
  // Servers of gRPC refuse requests without it.
  if (takesTrailers) headers.list.push("te", "trailers");
  if (!headers.has("host")) headers.list.push("host", host === "" ? "localhost" : host);
  addForwarded(headers.list, forwardedFields, {
    identity: exchange.identity,
    host,
    via: named !== null && named.has("via") ? null : via,
  });
  if (loopMark !== null) loopMark.add(headers, fromProxy);
  if (forwardedFields.clientCert) setClientCert(headers, stream.certificate);
  // Where no tunnels are made, other offers than that of a WebSocket are declined.
  if (exchange.upgrade?.webSocket === null && pool.webSocket === null) exchange.upgrade = null;
  if (exchange.upgrade !== null) addUpgrade(headers, exchange.upgrade);
  exchange.outgoing = new ServerRequest(exchange, headers, body, targetFor(exchange));
}

class ServerRequest implements PreparedRequest {
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
    this.upgrade = exchange.upgrade !== null;
    this.expectsContinue = stream.expectsContinue;
    this.targetBytes = target === null ? stream.targetBytes : null;
  }

  get shownTarget(): string {
    return this.#target ?? this.#exchange.target;
  }

  get addresses(): ProxyAddresses {
    const { client: { ip, port }, stream: { localIp, localPort } } = this.#exchange;
    return { ip, port, localIp, localPort };
  }

  // As it came where nobody changes it; most transports need no text of it.
  get target(): string {
    return this.#target ?? this.#exchange.stream.receivedTarget;
  }
}

/**
 * The target that the server gets: the client's (`null`), its normal form, or what the `rewrite` of the route makes of it.
 *
 * A rewrite is given the path that the route was found by, or it would do something else than the route says.
 *
 * @throws {FilterError} when that throws, or makes what cannot stand in a request line
 */
function targetFor(exchange: Exchange): string | null {
  const rewrite = exchange.matched?.rewrite ?? null;
  if (rewrite === null && !exchange.normalized) return null;
  const { normalTarget } = exchange;
  const unchanged = exchange.normalized ? normalTarget : null;
  if (rewrite === null) return unchanged;
  let made: unknown;
  try {
    made = rewrite(normalTarget, exchange);
  } catch (error) {
    throw new FilterError("rewrite", error);
  }
  if (made === normalTarget) return unchanged;
  if (typeof made === "string") made = asciiTarget(made);
  if (isOriginForm(made)) return made;
  throw new FilterError("rewrite", unexpected("a path that begins with a slash", made));
}
