/** First step: find out what is asked, and refuse what cannot be forwarded. */

import { refusePromise } from "../core/callback.ts";
import { FilterError, LoopError, RequestError, StoppingError } from "../core/errors.ts";
import { asciiTarget, readTarget } from "../http/request_target.ts";
import type { Exchange } from "./exchange.ts";
import { checkPath, matchRoute } from "./match_route.ts";
import { bringsLongContent, mayHaveContent } from "./read_body.ts";
import { declaresContent, readFields } from "./read_fields.ts";
import { readUpgrade } from "./read_upgrade.ts";
import { showUrl } from "./show_request.ts";

/**
 * Makes the request's own state, reads host and target, and finds the route.
 *
 * @throws {RequestError} 400 or 405 for what cannot be forwarded
 * @throws {StoppingError} 503 for an upload or a WebSocket when the proxy stops
 * @throws {FilterError} when `newContext` throws, or is async
 */
export function openExchange(exchange: Exchange): void {
  const { received: { url }, method, entrance, runtime } = exchange;
  makeState(exchange);
  const { fields } = exchange;
  if (fields.dropped !== null && entrance.underscores === "refuse") {
    throw new RequestError(
      `Names of fields must not have underscores, received ${JSON.stringify(fields.dropped)}`,
    );
  }
  if (fields.cdnLoop !== null && runtime.loopMark?.isIn(fields.cdnLoop)) throw new LoopError();
  if (method === "CONNECT" || method === "TRACE") {
    throw new RequestError(`The method ${method} is not forwarded`, 405, { allow: ALLOWED });
  }
  // The runtime does not tell HTTP/1.0, where a request may go without `Host`, from HTTP/1.1, where that is refused
  // (RFC 9112 section 3.2). This is the health check of HAProxy; what speaks HTTP/1.1 has at least one field.
  const bareCheck = method === "OPTIONS" && fields.list.length === 0 && !fields.edited;
  const asked = readTarget(url, fields.host, entrance.fallbackAuthority, !bareCheck);
  const { host, target } = asked;
  // The runtime shows `OPTIONS *` (RFC 9112 section 3.2.4) as it does `OPTIONS /*`, and a server answers them differently.
  if (method === "OPTIONS" && target === "/*") throw new RequestError("OPTIONS * cannot be forwarded");
  if (bareCheck && host === "localhost") exchange.fields = { ...fields, host, list: ["host", host] };
  exchange.host = host;
  exchange.target = target;
  exchange.receivedTarget = asked.received;
  exchange.pathEnd = asked.pathEnd;
  exchange.plainPath = asked.plain;
  if (target !== asked.received) showUrl(exchange.request, asciiTarget(url));
  if (fields.upgrade !== null) {
    exchange.webSocket = readUpgrade(method, fields);
    // The runtime does not know any more who it is once a filter has taken the connection.
    void exchange.identity;
  }
  // Connections are still taken as long as the listener waits for uploads that run; nothing new to wait for is begun.
  if (runtime.running.stopping && (exchange.webSocket !== null || bringsLongContent(fields))) {
    throw new StoppingError("The proxy stops");
  }
  if (runtime.routes !== null) matchRoute(exchange, runtime.routes);
  if (!exchange.plainPath) checkPath(exchange);
  // The runtime gives no access to it; without it the server would wait for content that never comes.
  if (!mayHaveContent(method) && declaresContent(fields)) {
    throw new RequestError(`A ${method} request with content cannot be forwarded`);
  }
}

/**
 * Reads the fields and makes the request's own state: first, because `failToProxy` and `logging` are asked about bad requests
 * too.
 *
 * @throws {FilterError} when `newContext` throws, or is async
 */
export function makeState(exchange: Exchange): void {
  const { received, entrance, runtime: { filters: { newContext } } } = exchange;
  const fields = readFields(received.headers, entrance.underscores === "pass");
  exchange.fields = fields;
  if (fields.edited) exchange.showFields(fields.list);
  if (newContext === undefined) return;
  const shown = asciiTarget(received.url);
  if (shown !== received.url) showUrl(exchange.request, shown);
  try {
    exchange.state = refusePromise(newContext(exchange.request));
  } catch (error) {
    throw new FilterError("newContext", error);
  }
}

const ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
