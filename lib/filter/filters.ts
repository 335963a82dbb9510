/** The phases in which a configuration takes part in a request. */

import type { HeaderFields } from "../http/header_fields.ts";
import { choose, FUNCTION, list, must, object, type Rule, type Rules } from "../core/options.ts";
import type { ProxyError, UpstreamError } from "../core/errors.ts";
import type { RequestContext } from "./request_context.ts";
import type { PeerOptions } from "./resolve_peer.ts";

/** The request as it is about to go to a server; a filter edits it in place. */
export interface UpstreamRequest {
  /** Method as it is sent. */
  method: string;
  /**
   * Path and query exactly as they are sent, but for bytes above 0x7F: those are percent-encoded here, and go out as they
   * came where nothing of the target is changed.
   */
  target: string;
  /** Fields, exactly as they are sent; those of framing are the transport's. */
  readonly headers: HeaderFields;
}

/** The head of a server's response; a filter edits it in place. */
export interface ProxyResponse {
  /** Status code, 200 to 599. */
  status: number;
  /** Reason phrase; `""` for none. */
  statusText: string;
  /** Fields, exactly as the client gets them. */
  readonly headers: HeaderFields;
}

/** A value or a promise of it; filters that return at once cost no promise. */
export type Awaitable<T> = T | Promise<T>;

/** What a filter of content returns: the content from now on, or nothing to leave it alone. */
export type FilteredContent = Awaited<ReturnType<NonNullable<Filters["requestBodyFilter"]>>>;

/**
 * The phases, in the order in which a request meets them; each is optional.
 *
 * An object of these is a filter set. Several of them run in the order of the configuration on a request's way to a
 * server, and the other way round on the way back (`upstreamResponseFilter` and all that follow).
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
  /** Makes the request's own state, `ctx.state` in all others; must not be async. */
  newContext?: (request: Request) => State;
  /** Looks at the request before anything is done; a returned response is sent to the client. */
  requestFilter?: (request: Request, ctx: RequestContext<State>) => Awaitable<Response | void>;
  /** Names the pool (a string) or a server outright; nothing takes the route's pool. */
  upstreamPeer?: (request: Request, ctx: RequestContext<State>) => Awaitable<string | PeerOptions | void>;
  /**
   * Changes the content of the request; runs once, before a server is chosen, and only where there is content. The
   * `Content-Length` goes unless the new one is declared. What it gives is kept for a second attempt like any content.
   */
  requestBodyFilter?: (
    body: ReadableStream<Uint8Array<ArrayBuffer>>,
    ctx: RequestContext<State>,
  ) => Awaitable<
    ReadableStream<Uint8Array<ArrayBuffer>> | {
      /** The content. */
      readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
      /** How many bytes it has; content that has more or less is broken off. */
      readonly length: number;
    } | void
  >;
  /** Edits what goes upstream; runs once for each attempt, on a fresh copy. */
  upstreamRequestFilter?: (request: UpstreamRequest, ctx: RequestContext<State>) => Awaitable<void>;
  /** Told that a server could not be given the request, of which nothing was sent; see `ctx.retry`. */
  failToConnect?: (error: UpstreamError, ctx: RequestContext<State>) => Awaitable<void>;
  /** Edits the head of a server's response as it came, before the proxy adds fields of its own, or replaces the response. */
  upstreamResponseFilter?: (
    response: ProxyResponse,
    ctx: RequestContext<State>,
  ) => Awaitable<Response | void>;
  /** Edits the head of the response, or replaces it by returning another. */
  responseFilter?: (response: ProxyResponse, ctx: RequestContext<State>) => Awaitable<Response | void>;
  /**
   * Changes the content of a server's response; runs before the head is sent, which can still be edited. `Content-Length`
   * goes unless the new one is declared, and so do checksums of the content.
   */
  responseBodyFilter?: (
    body: ReadableStream<Uint8Array<ArrayBuffer>>,
    ctx: RequestContext<State>,
    response: ProxyResponse,
  ) => Awaitable<
    ReadableStream<Uint8Array<ArrayBuffer>> | {
      /** The content. */
      readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
      /** How many bytes it has; content that has more or less is broken off. */
      readonly length: number;
    } | void
  >;
  /**
   * Edits the head of a local reply, a response that no server made: of a limit, of `requestFilter`, of a failure. Must
   * not be async; one that throws, or is, is reported, and the response goes out as it was.
   */
  localReplyFilter?: (response: ProxyResponse, ctx: RequestContext<State>) => void;
  /** Makes the response when the proxy has none; nothing takes the standard problem document. */
  failToProxy?: (error: ProxyError, ctx: RequestContext<State>) => Awaitable<Response | void>;
  /** Runs exactly once for every request, last. */
  logging?: (ctx: RequestContext<State>, error?: ProxyError) => Awaitable<void>;
}

/** @internal Where a filter set names requests; of several sets the first one that does. */
export const REQUEST_ID: unique symbol = Symbol("requestId");

/** @internal What names requests in the log and for filters. */
export interface RequestNaming {
  /** The id of a request; always the same for the same one, never throws. */
  readonly [REQUEST_ID]?: (ctx: RequestContext) => string;
}

const FILTER_NAME: unique symbol = Symbol("filterName");

/** Names a ready-made filter, for descriptions of the configuration; a copy with other phases has no name. */
export function named<State>(name: string, filters: Filters<State>): Filters<State> {
  return Object.defineProperty(filters, FILTER_NAME, { value: name });
}

/** What the sets are: names of ready-made filters, and phases of others, in order. */
export function describeFilters(sets: readonly Filters[]): readonly string[] {
  return sets.flatMap((set) => {
    const name = (set as { readonly [FILTER_NAME]?: string })[FILTER_NAME];
    return name === undefined ? FILTER_PHASES.filter((phase) => set[phase] !== undefined) : [name];
  });
}

/** The phases, each of them a function. */
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
