/** Filters of a request: they may reply themselves, or change what is sent to a server. */

import { type RequestBody, StreamBody, streamOf } from "../http/message.ts";
import { describeValue } from "../core/describe_value.ts";
import { FilterError, ProxyError } from "../core/errors.ts";
import type { FilteredContent, Filters } from "../filter/filters.ts";
import { isToken } from "../http/header_fields.ts";
import { asciiTarget } from "../http/request_target.ts";
import type { OutgoingRequest } from "../transport/transport.ts";
import type { PeerOptions } from "../filter/resolve_peer.ts";
import type { Exchange } from "./exchange.ts";
import type { NamedPeer, PoolRuntime } from "./proxy_runtime.ts";
import { checkContent, type CheckedContent } from "./filtered_content.ts";
import { KeptBody, keptBytesFor } from "./kept_body.ts";
import { filterReply, replyLocally } from "./local_reply.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Runs `requestFilter`, and sends the response that it returned.
 *
 * @throws {FilterError} when it throws, rejects, or returns something other than a response
 */
export function runRequestFilter(exchange: Exchange): void | Promise<void> {
  const { requestFilter } = exchange.filters;
  if (requestFilter === undefined) return;
  exchange.delayed = true;
  const made = runFilter("requestFilter", requestFilter, exchange.request, exchange);
  return made instanceof Promise ? made.then((late) => takeReply(exchange, late)) : takeReply(exchange, made);
}

function takeReply(exchange: Exchange, made: Response | void): void {
  exchange.throwIfCancelled();
  if (made === undefined || made === null) return;
  if (made instanceof Response && made.status === 101) return passUpgrade(exchange, made);
  replyLocally(exchange, filterReply(exchange, made, "requestFilter"));
}

/** A response of `Deno.upgradeWebSocket()`: from here on the filter owns the connection. */
function passUpgrade(exchange: Exchange, response: Response): void {
  const { stream } = exchange;
  exchange.status = 101;
  exchange.responseSource = "filter";
  exchange.answered = true;
  stream.passUpgrade(response);
}

/**
 * Runs `requestBodyFilter` on existing content, and replaces the exchange's body by its result.
 *
 * @throws {FilterError} when it throws, rejects, or returns something other than content
 */
export function filterRequestBody(exchange: Exchange): void | Promise<void> {
  const { requestBodyFilter } = exchange.filters;
  const source = exchange.body;
  if (requestBodyFilter === undefined || source === null || source.length === 0) return;
  const original = streamOf(source);
  const made = runFilter("requestBodyFilter", requestBodyFilter, original, exchange);
  const take = (content: FilteredContent): void => {
    exchange.throwIfCancelled();
    let checked: CheckedContent | null;
    try {
      checked = checkContent(content, original, source.length);
    } catch (error) {
      throw new FilterError("requestBodyFilter", error);
    }
    if (checked !== null) {
      exchange.body = new FilteredBody(source, checked, keptBytesFor(exchange));
    } else source.rewind();
  };
  return made instanceof Promise ? made.then(take) : take(made);
}

/** Content made by a filter from the client's content. */
class FilteredBody extends KeptBody {
  readonly #source: RequestBody;

  constructor(source: RequestBody, { stream, length }: CheckedContent, maxKeptBytes: number) {
    const explain = (cause: unknown): ProxyError | null => {
      // A client that aborts its content is not the filter's fault, and the filter cannot turn that into a clean end.
      if (source.failure !== null) return source.failure;
      if (cause === undefined) return null;
      // A filter may find that the content is the client's mistake.
      return cause instanceof ProxyError ? cause : new FilterError("requestBodyFilter", cause);
    };
    super(new StreamBody(stream, length), { explain, maxKeptBytes });
    this.#source = source;
  }

  override get ended(): boolean {
    return this.#source.ended;
  }

  override cancel(reason?: unknown): void {
    super.cancel(reason);
    this.#source.cancel(reason);
  }
}

/**
 * Calls `upstreamPeer` once, and sets the exchange's pool, or its peer if one was named directly.
 *
 * @throws {FilterError} when it throws, rejects, or names something that does not exist
 */
export function chooseUpstream(exchange: Exchange): void | Promise<void> {
  const { upstreamPeer } = exchange.filters;
  if (upstreamPeer === undefined) return;
  exchange.delayed = true;
  const named = runFilter("upstreamPeer", upstreamPeer, exchange.request, exchange);
  return named instanceof Promise
    ? named.then((late) => takePeer(exchange, late))
    : takePeer(exchange, named);
}

function takePeer(exchange: Exchange, named: string | PeerOptions | void): void {
  exchange.throwIfCancelled();
  try {
    if (typeof named === "string") exchange.pool = poolNamed(exchange, named);
    else if (named !== undefined && named !== null) exchange.namedPeer = peerNamed(exchange, named);
  } catch (error) {
    throw new FilterError("upstreamPeer", error);
  }
}

function poolNamed(exchange: Exchange, name: string): PoolRuntime {
  const { pools } = exchange.runtime;
  const pool = pools.get(name);
  if (pool !== undefined) return pool;
  const known = [...pools.keys()].map((each) => `"${each}"`).join(", ");
  throw new TypeError(`Cannot use the pool "${name}": there are ${known}`);
}

function peerNamed({ runtime: { namedPeers } }: Exchange, options: PeerOptions): NamedPeer {
  if (typeof options?.address === "string") return namedPeers.get(options);
  throw new TypeError(
    `it must return the name of a pool, { address, tls } or nothing, returned ${found(options)}`,
  );
}

function found(value: unknown): string {
  return typeof value === "object" ? `an object without "address"` : typeof value;
}

/**
 * Runs `upstreamRequestFilter` on a copy of the request; returns the request for the server.
 *
 * @throws {FilterError} when it throws, rejects, or sets a method or target that cannot be sent
 */
export function filterUpstreamRequest(
  exchange: Exchange,
  filter: NonNullable<Filters["upstreamRequestFilter"]>,
): OutgoingRequest | Promise<OutgoingRequest> {
  const outgoing = exchange.outgoing!;
  // A copy: a field that the filter adds for one server must not be added twice for the next.
  const headers = outgoing.headers.clone();
  headers.detach();
  const shown = outgoing.shownTarget;
  const { method, body, upgrade = false, expectsContinue = false } = outgoing;
  const request = { method, target: shown, headers };
  const take = (): OutgoingRequest => {
    exchange.throwIfCancelled();
    if (request.method !== method && !isMethod(request.method)) throw badEdit("a method", request.method);
    exchange.sentMethod = request.method;
    const unchanged = request.target === shown;
    return {
      method: request.method,
      target: unchanged ? outgoing.target : madeTarget(request.target),
      targetBytes: unchanged ? outgoing.targetBytes : null,
      headers,
      body,
      upgrade,
      expectsContinue,
      addresses: outgoing.addresses ?? null,
    };
  };
  const filtered = runFilter("upstreamRequestFilter", filter, request, exchange);
  return filtered instanceof Promise ? filtered.then(take) : take();
}

function madeTarget(target: unknown): string {
  const made = typeof target === "string" ? asciiTarget(target) : "";
  if (/^\/[!-~]*$/.test(made)) return made;
  throw badEdit("a target that begins with a slash", target);
}

function isMethod(method: unknown): boolean {
  return typeof method === "string" && isToken(method) && method !== "CONNECT";
}

/** A mistake of a filter: transports would report it as one of the client or of the server. */
function badEdit(expected: string, found: unknown): FilterError {
  return new FilterError(
    "upstreamRequestFilter",
    new TypeError(`it must set ${expected}, set ${describeValue(found)}`),
  );
}
