/** A name for each request, which all logs on its way share. */

import type { Filters } from "../config/filters.ts";
import type { RequestContext } from "../config/request_context.ts";
import { CidrList } from "../http/cidr.ts";
import { checkedFieldName } from "./checked_fields.ts";
import { setIdentityField } from "./identity_field.ts";

/** What {@linkcode requestId} takes. */
export interface RequestIdOptions {
  /** The field. @default {"x-request-id"} */
  header?: string;
  /**
   * Whose own id is taken over when it sends one: clients of these networks, all (`true`), or those that a function says;
   * anybody else's is replaced. @default {[]}
   */
  trusted?: boolean | readonly string[] | ((ctx: RequestContext) => boolean);
  /** Makes an id. @default {crypto.randomUUID} */
  generate?: () => string;
  /** Whether the client is told as well. @default {true} */
  respond?: boolean;
}

/** Ids that are taken over: what every log can hold, and nothing that means anything in one. */
const PLAIN = /^[\w.:+/=@-]{1,128}$/;

/**
 * Gives each request an id that the server and the client are told, answers of the proxy's own included.
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
  const { header = "x-request-id", trusted = [], generate = () => crypto.randomUUID(), respond = true } =
    options;
  const name = checkedFieldName("requestId", header);
  const isTrusted = trustOf(trusted);
  const ids = new WeakMap<RequestContext, string>();
  const idOf = (ctx: RequestContext): string => {
    let id = ids.get(ctx);
    if (id === undefined) {
      const theirs = ctx.request.headers.get(name);
      id = theirs !== null && PLAIN.test(theirs) && isTrusted(ctx) ? theirs : generate();
      ids.set(ctx, id);
    }
    return id;
  };
  return {
    upstreamRequestFilter: ({ headers }, ctx) => setIdentityField(headers, name, idOf(ctx)),
    ...(respond
      ? {
        responseFilter: ({ headers }, ctx) => headers.set(name, idOf(ctx)),
        ownResponseFilter: ({ headers }, ctx) => headers.set(name, idOf(ctx)),
      }
      : {}),
  };
}

function trustOf(trusted: NonNullable<RequestIdOptions["trusted"]>): (ctx: RequestContext) => boolean {
  if (typeof trusted === "function") return trusted;
  if (typeof trusted === "boolean") return () => trusted;
  const networks = new CidrList(trusted);
  return ({ client }) => networks.has(client.ip);
}
