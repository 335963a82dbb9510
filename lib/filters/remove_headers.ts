/** Fields that do not pass. */

import type { Filters } from "../filter/filters.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { checkedFieldName } from "./checked_fields.ts";
import { checkOptions } from "./checked_options.ts";

/** What {@linkcode removeHeaders} takes away. */
export interface RemoveHeadersOptions {
  /** Names of fields that the server does not get. @default {[]} */
  request?: readonly string[];
  /** Names of fields that the client does not get. @default {[]} */
  response?: readonly string[];
}

/** The options, and which of them are required. */
const OPTIONS = { request: false, response: false } satisfies Record<keyof RemoveHeadersOptions, boolean>;

/**
 * Takes fields away, all lines of each.
 *
 * @throws {TypeError} when a name cannot be that of a field
 *
 * @example
 * ```ts
 * import { defineConfig, removeHeaders } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [removeHeaders({ request: ["cookie"], response: ["server", "x-powered-by"] })],
 * });
 * ```
 */
export function removeHeaders(options: RemoveHeadersOptions): Filters {
  checkOptions("removeHeaders", options, OPTIONS);
  const { request = [], response = [] } = options;
  const fromRequest = request.map((name) => checkedFieldName("removeHeaders", name));
  const fromResponse = response.map((name) => checkedFieldName("removeHeaders", name));
  return {
    ...(fromRequest.length === 0 ? {} : {
      upstreamRequestFilter: ({ headers }) => remove(headers, fromRequest),
    }),
    ...(fromResponse.length === 0 ? {} : {
      responseFilter: ({ headers }) => remove(headers, fromResponse),
      ownResponseFilter: ({ headers }) => remove(headers, fromResponse),
    }),
  };
}

function remove(headers: HeaderFields, names: readonly string[]): void {
  for (const name of names) headers.delete(name);
}
