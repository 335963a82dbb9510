/** Request ids, shared by all logs on the way of a request. */

import { type Filters, named, REQUEST_ID, type RequestNaming } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { choose, FLAG, FUNCTION, list, object, orFlag } from "../core/options.ts";
import { checkedBoolean, messageOf, stackOf, unexpected } from "../core/callback.ts";
import { CIDR, CidrList } from "../http/ip_address.ts";
import { checkFilter, FIELD_NAME, setIdentityField } from "./filter_support.ts";

/** Options of {@linkcode requestId}. */
export interface RequestIdOptions {
  /** Name of the field. @default {"x-request-id"} */
  header?: string;
  /**
   * Clients whose ids are kept: clients in these networks, all clients (`true`), or clients that a function accepts;
   * other ids are replaced. Must not be async; if it throws, the id is replaced. @default {[]}
   */
  trusted?: boolean | readonly string[] | ((ctx: RequestContext) => boolean);
  /**
   * Makes an id of 1 to 128 visible ASCII characters; must not be async. If it throws, the id is a UUID.
   *
   * @default {crypto.randomUUID}
   */
  generate?: () => string;
  /** Whether the response contains the id too. @default {true} */
  respond?: boolean;
}

/** Accepted ids of clients: characters that are safe in every log. */
const PLAIN = /^[\w.:+/=@-]{1,128}$/;

/** Accepted generated ids: a single word in every log. */
const VISIBLE = /^[\x21-\x7e]{1,128}$/;

const OPTIONS = object<RequestIdOptions>({
  header: FIELD_NAME,
  trusted: orFlag(
    choose((trusted) =>
      typeof trusted === "function" ? FUNCTION : list(CIDR, "true, false, an array of networks or a function")
    ),
  ),
  generate: FUNCTION,
  respond: FLAG,
}, "an object with header, trusted, generate and respond");

/**
 * Sets a request id for the server and the client, also in local replies. It is also the `ctx.requestId` of all filters
 * and the id in the log. Of several such filters the first one sets that id.
 *
 * Errors of the functions are logged, and the request continues.
 *
 * An id that a trusted client sends is kept if it has at most 128 letters, digits and `. : + / = @ _ -`.
 *
 * @throws {TypeError} when `header` or `trusted` is invalid
 *
 * @example
 * ```ts
 * import { defineConfig, requestId } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [requestId({ trusted: ["10.0.0.0/8"] })],
 * });
 * ```
 */
export function requestId(options: RequestIdOptions = {}): Filters {
  checkFilter("requestId", OPTIONS, options);
  const { header = "x-request-id", trusted = [], generate = () => crypto.randomUUID(), respond = true } =
    options;
  const name = header.toLowerCase();
  const isTrusted = trustOf(trusted);
  const ids = new WeakMap<RequestContext, string>();
  const make = (ctx: RequestContext): string => {
    const theirs = ctx.request.headers.get(name);
    const trusts = (): boolean => checkedBoolean(isTrusted(ctx));
    if (theirs !== null && PLAIN.test(theirs) && attempt(ctx, "trusted", trusts, () => false)) return theirs;
    return attempt(ctx, "generate", () => checkedId(generate()), () => crypto.randomUUID());
  };
  const idOf = (ctx: RequestContext): string => {
    const known = ids.get(ctx);
    if (known !== undefined) return known;
    const made = make(ctx);
    // A function of the configuration may have read the id meanwhile.
    const id = ids.get(ctx) ?? made;
    ids.set(ctx, id);
    return id;
  };
  const filters: Filters & RequestNaming = {
    [REQUEST_ID]: idOf,
    upstreamRequestFilter: ({ headers }, ctx) => setIdentityField(headers, name, idOf(ctx)),
    ...(respond
      ? {
        responseFilter: ({ headers }, ctx) => headers.set(name, idOf(ctx)),
        localReplyFilter: ({ headers }, ctx) => headers.set(name, idOf(ctx)),
      }
      : {}),
  };
  return named("requestId", filters);
}

function attempt<Value>(ctx: RequestContext, option: string, call: () => Value, instead: () => Value): Value {
  try {
    return call();
  } catch (error) {
    // Later, when the request has its id, which the log line contains.
    queueMicrotask(() =>
      ctx.log.error(`requestId: "${option}" threw: ${messageOf(error)}`, { stack: stackOf(error) })
    );
    return instead();
  }
}

function checkedId(id: unknown): string {
  if (typeof id === "string" && VISIBLE.test(id)) return id;
  throw unexpected("1 to 128 visible ASCII characters", id);
}

function trustOf(trusted: NonNullable<RequestIdOptions["trusted"]>): (ctx: RequestContext) => boolean {
  if (typeof trusted === "function") return trusted;
  if (typeof trusted === "boolean") return () => trusted;
  const networks = new CidrList(trusted);
  return ({ client }) => networks.has(client.ip);
}
