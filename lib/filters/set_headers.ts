/** Fields of the configuration's own on requests and responses. */

import type { Filters } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { unexpected } from "../core/callback.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { checkedFieldName, checkedFieldValue } from "./checked_fields.ts";
import { checkOptions } from "./checked_options.ts";

/**
 * A value, or a function that makes it; nothing leaves the field as it is. Must not be async. White space around what a
 * function makes for the server is an error, since dropping it could make one user of two.
 */
export type FieldValue = string | ((ctx: RequestContext) => string | null);

/** What {@linkcode setHeaders} sets, by the names of the fields. */
export interface SetHeadersOptions {
  /** On what goes to the server. @default {{}} */
  request?: Readonly<Record<string, FieldValue>>;
  /** On what goes to the client, local replies included. @default {{}} */
  response?: Readonly<Record<string, FieldValue>>;
}

/** The options, and which of them are required. */
const OPTIONS = { request: false, response: false } satisfies Record<keyof SetHeadersOptions, boolean>;

/**
 * Sets fields; each takes the place of what the client or the server has said.
 *
 * @throws {TypeError} when a name or a value cannot stand in a message; of a value that a function makes when that runs
 *
 * @example
 * ```ts
 * import { defineConfig, setHeaders } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [setHeaders({
 *     request: { host: "api.internal" },
 *     response: { "x-served-by": (ctx) => ctx.server?.address ?? null },
 *   })],
 * });
 * ```
 */
export function setHeaders(options: SetHeadersOptions): Filters {
  checkOptions("setHeaders", options, OPTIONS);
  const { request = {}, response = {} } = options;
  const onRequest = compile(request, true);
  const onResponse = compile(response, false);
  return {
    ...(onRequest === null ? {} : { upstreamRequestFilter: ({ headers }, ctx) => onRequest(headers, ctx) }),
    ...(onResponse === null ? {} : {
      responseFilter: ({ headers }, ctx) => onResponse(headers, ctx),
      ownResponseFilter: ({ headers }, ctx) => onResponse(headers, ctx),
    }),
  };
}

function compile(
  fields: Readonly<Record<string, FieldValue>>,
  exact: boolean,
): ((headers: HeaderFields, ctx: RequestContext) => void) | null {
  const entries = Object.entries(fields).map(([given, value]): [string, FieldValue] => {
    const name = checkedFieldName("setHeaders", given);
    return [name, typeof value === "function" ? value : checkedFieldValue("setHeaders", name, value)];
  });
  if (entries.length === 0) return null;
  return (headers, ctx) => {
    for (const [name, value] of entries) {
      const text: unknown = typeof value === "function" ? value(ctx) : value;
      if (text === null || text === undefined) continue;
      if (typeof text !== "string") throw unexpected(`a text for the field "${name}", or null`, text);
      if (exact && /^\s|\s$/.test(text)) {
        throw new TypeError(`the field "${name}" cannot carry ${JSON.stringify(text)} exactly`);
      }
      headers.set(name, text);
    }
  };
}
