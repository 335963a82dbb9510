/** A name for each request, which all logs on its way share. */

import { type Filters, named, REQUEST_ID, type RequestNaming } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { choose, FLAG, FUNCTION, list, object, orFlag } from "../core/options.ts";
import { checkedBoolean, messageOf, stackOf, unexpected } from "../core/callback.ts";
import { CIDR, CidrList } from "../http/ip_address.ts";
import { checkFilter, FIELD_NAME, setIdentityField } from "./filter_support.ts";

/** What {@linkcode requestId} takes. */
export interface RequestIdOptions {
  /** The field. @default {"x-request-id"} */
  header?: string;
  /**
   * Whose ids are kept: those of clients in these networks, of all clients (`true`), or of clients that a function
   * accepts; other ids are replaced. Must not be async; when it throws, the id is replaced. @default {[]}
   */
  trusted?: boolean | readonly string[] | ((ctx: RequestContext) => boolean);
  /**
   * Makes an id of 1 to 128 visible ASCII characters; must not be async. When it throws, the id is a UUID.
   *
   * @default {crypto.randomUUID}
   */
  generate?: () => string;
  /** Whether the response has the id too. @default {true} */
  respond?: boolean;
}

/** Ids that are taken over: what every log can hold, and nothing that means anything in one. */
const PLAIN = /^[\w.:+/=@-]{1,128}$/;

/** Ids that are made: one word in every log. */
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
 * Gives each request an id that the server and the client get, also in local replies; it is the
 * `ctx.requestId` of all filters and the id in the log. Of several such filters the first one gives that.
 *
 * A function that fails is reported, and the request goes on.
 *
 * An id that a trusted client sends is kept when it is at most 128 letters, digits and `. : + / = @ _ -`.
 *
 * @throws {TypeError} when `header` or `trusted` cannot be read
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
    // A function of the configuration may have asked for the id in the meantime.
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
    // Not before the request has its id, which the line is to name.
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
