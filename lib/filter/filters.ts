/** The phases of filters. */

import type { HeaderFields } from "../http/header_fields.ts";
import { choose, FUNCTION, list, must, object, type Rule, type Rules } from "../core/options.ts";
import type { ProxyError, UpstreamError } from "../core/errors.ts";
import type { RequestContext } from "./request_context.ts";
import type { PeerOptions } from "./resolve_peer.ts";

/** The request to a server, before it is sent; a filter edits it in place. */
export interface UpstreamRequest {
  /** Method for the server. */
  method: string;
  /**
   * Path and query exactly as they are sent, except for bytes above 0x7F: they are percent-encoded here, but sent as
   * received if the target is not changed.
   */
  target: string;
  /** Fields, exactly as they are sent; the transport adds the framing fields. */
  readonly headers: HeaderFields;
}

/** The head of a server's response; a filter edits it in place. */
export interface ProxyResponse {
  /** Status code, 200 to 599. */
  status: number;
  /** Reason phrase; `""` for none. */
  statusText: string;
  /** Fields, exactly as the client receives them. */
  readonly headers: HeaderFields;
}

/** A value or a promise of it; a synchronous filter costs no promise. */
export type Awaitable<T> = T | Promise<T>;

/** Result of a content filter: the new content, or nothing to keep it. */
export type FilteredContent = Awaited<ReturnType<NonNullable<Filters["requestBodyFilter"]>>>;

/**
 * The phases, in the order in which a request passes them; each is optional.
 *
 * An object of these is a filter set. Several sets run in the order of the configuration on the way to a server, and in
 * reverse order on the way back (`upstreamResponseFilter` and all that follow).
 *
 * @example A filter set for several configurations
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [{
 *     requestFilter: (request) => request.headers.has("x-blocked") ? new Response("no", { status: 403 }) : undefined,
 *     responseFilter: (response) => response.headers.set("x-served-by", "lbproxy"),
 *   }],
 * });
 * ```
 */
export interface Filters<State = unknown> {
  /** Makes the state of a request, `ctx.state` in all other phases; must not be async. */
  newContext?: (request: Request) => State;
  /** Checks a request before it is processed further; a returned response is sent to the client. */
  requestFilter?: (request: Request, ctx: RequestContext<State>) => Awaitable<Response | void>;
  /** Names the pool (a string) or a server directly; no result selects the pool of the route. */
  upstreamPeer?: (request: Request, ctx: RequestContext<State>) => Awaitable<string | PeerOptions | void>;
  /**
   * Changes the content of the request; runs once, before a server is chosen, and only if there is content. The
   * `Content-Length` is removed unless the new length is declared. Its output is kept for a second attempt like any
   * content.
   */
  requestBodyFilter?: (
    body: ReadableStream<Uint8Array<ArrayBuffer>>,
    ctx: RequestContext<State>,
  ) => Awaitable<
    ReadableStream<Uint8Array<ArrayBuffer>> | {
      /** The content. */
      readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
      /** Its length in bytes; content that is longer or shorter is broken off. */
      readonly length: number;
    } | void
  >;
  /** Edits the request to the server; runs once for each attempt, on a fresh copy. */
  upstreamRequestFilter?: (request: UpstreamRequest, ctx: RequestContext<State>) => Awaitable<void>;
  /** Called when a server could not be reached and nothing of the request was sent; see `ctx.retry`. */
  failToConnect?: (error: UpstreamError, ctx: RequestContext<State>) => Awaitable<void>;
  /** Edits the head of a server's response as received, before the proxy adds fields, or replaces the response. */
  upstreamResponseFilter?: (
    response: ProxyResponse,
    ctx: RequestContext<State>,
  ) => Awaitable<Response | void>;
  /** Edits the head of the response, or replaces it by returning another. */
  responseFilter?: (response: ProxyResponse, ctx: RequestContext<State>) => Awaitable<Response | void>;
  /**
   * Changes the content of a server's response; runs before the head is sent, which can still be edited.
   * `Content-Length` is removed unless the new length is declared, and so are checksums of the content.
   */
  responseBodyFilter?: (
    body: ReadableStream<Uint8Array<ArrayBuffer>>,
    ctx: RequestContext<State>,
    response: ProxyResponse,
  ) => Awaitable<
    ReadableStream<Uint8Array<ArrayBuffer>> | {
      /** The content. */
      readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
      /** Its length in bytes; content that is longer or shorter is broken off. */
      readonly length: number;
    } | void
  >;
  /**
   * Edits the head of a local reply, a response that no server made: of a limit, of `requestFilter`, of a failure. Must
   * not be async. If it throws, or is async, the error is logged, and the response is sent unchanged.
   */
  localReplyFilter?: (response: ProxyResponse, ctx: RequestContext<State>) => void;
  /** Makes the response if the proxy has none; no result sends the standard problem document. */
  failToProxy?: (error: ProxyError, ctx: RequestContext<State>) => Awaitable<Response | void>;
  /** Runs exactly once for every request, last. */
  logging?: (ctx: RequestContext<State>, error?: ProxyError) => Awaitable<void>;
}

/** @internal Marks a stream that has as many bytes as the content it was made of, whatever that length is. */
export const KEEPS_LENGTH: unique symbol = Symbol("keepsLength");

/** @internal Marks the stream; returns it. */
export function keepLength<Stream extends ReadableStream<Uint8Array>>(stream: Stream): Stream {
  return Object.assign(stream, { [KEEPS_LENGTH]: true });
}

/** @internal Key of the function of a filter set that names requests; of several sets the first one is used. */
export const REQUEST_ID: unique symbol = Symbol("requestId");

/** @internal Names requests in the log and for filters. */
export interface RequestNaming {
  /** The id of a request; constant for the request, never throws. */
  readonly [REQUEST_ID]?: (ctx: RequestContext) => string;
}

const FILTER_NAME: unique symbol = Symbol("filterName");

/** Names a ready-made filter, for descriptions of the configuration; a copy with other phases has no name. */
export function named<State>(name: string, filters: Filters<State>): Filters<State> {
  return Object.defineProperty(filters, FILTER_NAME, { value: name });
}

/** Describes sets: names of ready-made filters, and phases of others, in order. */
export function describeFilters(sets: readonly Filters[]): readonly string[] {
  return sets.flatMap((set) => {
    const name = (set as { readonly [FILTER_NAME]?: string })[FILTER_NAME];
    return name === undefined ? FILTER_PHASES.filter((phase) => set[phase] !== undefined) : [name];
  });
}

/** The rules of the phases, each a function. */
export const PHASES: Rules<Filters> = {
  newContext: FUNCTION,
  requestFilter: FUNCTION,
  requestBodyFilter: FUNCTION,
  upstreamPeer: FUNCTION,
  upstreamRequestFilter: FUNCTION,
  failToConnect: FUNCTION,
  upstreamResponseFilter: FUNCTION,
  responseFilter: FUNCTION,
  responseBodyFilter: FUNCTION,
  failToProxy: FUNCTION,
  localReplyFilter: FUNCTION,
  logging: FUNCTION,
};

/** Names of the phases. */
export const FILTER_PHASES: readonly (keyof Filters)[] = Object.freeze(
  Object.keys(PHASES) as (keyof Filters)[],
);

const FILTER_SET = object<Filters>(PHASES, 'an object with phases such as "requestFilter"');

/** Filter sets, in order. */
export const FILTER_SETS: Rule = list(
  choose((value) =>
    typeof value === "function"
      ? must(
        () => false,
        'an object with phases such as "requestFilter"; a ready-made filter has to be called, as cors(...)',
      )
      : FILTER_SET
  ),
  "an array of objects with phases",
);
