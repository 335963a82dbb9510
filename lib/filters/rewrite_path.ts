/** Another path for the server than the one that the client asked for. */

import type { Filters } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { unexpected } from "../core/callback.ts";
import { asciiTarget } from "../http/request_target.ts";
import { compilePathRule, type PathRule, refuseDoubtful, splitTarget } from "./path_rule.ts";

/** Makes the target for the server, path and query, of the one that goes there now; must not be async. */
export type RewriteTarget = (target: string, ctx: RequestContext) => string;

/**
 * Rewrites the path that goes to the server; what a rule is not about goes on as it came, to the character.
 *
 * - `rewritePath("/api", "/v1")`: the path itself and all that is below it; `rewritePath("/api", "/")` takes it off;
 * - `rewritePath(/^\/u\/(\d+)$/, "/users/$1")`: as `String.replace`, on the path without the query;
 * - `rewritePath((target, ctx) => ...)`: path and query.
 *
 * Paths are compared as those of routes are (`paths` of the configuration), and what is kept of a path is kept in that
 * form; a path that the rule is not about, but that a server could read so, gets 400.
 *
 * @throws {TypeError} when a path does not begin with a slash
 *
 * @example
 * ```ts
 * import { defineConfig, rewritePath } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [rewritePath("/api", "/v1"), rewritePath(/^\/u\/(\d+)$/, "/users/$1")],
 * });
 * ```
 */
export function rewritePath(
  ...rule: [from: string | RegExp, to: string] | [rewrite: RewriteTarget]
): Filters {
  const { rewrite, apply } = compile(rule);
  return {
    ...(apply !== null && { requestFilter: (_request, ctx) => refuseDoubtful(apply, ctx) }),
    upstreamRequestFilter: (request, ctx) => {
      const made = rewrite(request.target, ctx);
      if (made === request.target) return;
      if (typeof made !== "string") throw unexpected("a path", made);
      const target = asciiTarget(made.startsWith("/") ? made : `/${made}`);
      // A space or a line break would end the target, and the server would read on in what an attacker has written.
      if (!TARGET.test(target)) throw new TypeError(`it made the target ${JSON.stringify(target)}`);
      request.target = target;
    },
  };
}

/** What can stand in a request line: no space, control character or fragment. */
const TARGET = /^[!"$-~]+$/;

interface Compiled {
  readonly rewrite: RewriteTarget;
  /** The rule; `null` for a function. */
  readonly apply: PathRule | null;
}

function compile(rule: [from: string | RegExp, to: string] | [rewrite: RewriteTarget]): Compiled {
  const [from, to = ""] = rule;
  if (typeof from === "function") return { rewrite: from, apply: null };
  if (typeof from === "string" && to !== "" && !to.startsWith("/")) {
    throw new TypeError(
      `Cannot make the filter rewritePath: the path must begin with "/", received ${JSON.stringify(to)}`,
    );
  }
  const apply = compilePathRule("rewritePath", from, to);
  const rewrite: RewriteTarget = (target, ctx) => {
    const [path, query] = splitTarget(target);
    // What something else has rewritten is not the client's spelling any more.
    const made = apply(target === ctx.target ? ctx.path : path);
    // Of several slashes a server may take the first segment for a host.
    return made === null ? target : made.replace(/^[/\\]{2,}/, "/") + query;
  };
  return { rewrite, apply };
}
