/** Redirects of clients, and rewrites of paths for servers. */

import {
  ANYTHING,
  choose,
  FLAG,
  isRecord,
  must,
  object,
  required,
  type Rules,
  text,
} from "../core/options.ts";
import { unexpected } from "../core/callback.ts";
import { type Filters, named } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { asciiTarget } from "../http/request_target.ts";
import { pathBelow, prefixSpellings, withoutSlash } from "../routing/rewrite.ts";
import { checkFilter, refuse } from "./filter_support.ts";

/** Maps a path to a path or an address; `null` if the rule does not match it. */
type PathRule = (path: string) => string | null;

const FROM = choose((from) =>
  from instanceof RegExp
    ? ANYTHING
    // Elsewhere "/old/*" means all paths below; taken literally it would match none.
    : text(
      'a path that begins with "/" and has no "*" (it also stands for all paths below it), or a pattern',
      (path) => path.startsWith("/") && !path.includes("*"),
    )
);

/**
 * Compiles a rule.
 *
 * A text matches itself and all paths below it, by segments: `"/api"` matches `/api` and `/api/x`, not `/apix`. The
 * rest of the path is kept.
 */
function compilePathRule(from: string | RegExp, to: string): PathRule {
  if (from instanceof RegExp) {
    return (path) => {
      from.lastIndex = 0;
      if (!from.test(path)) return null;
      from.lastIndex = 0;
      return path.replace(from, to);
    };
  }
  const prefixes = prefixSpellings(from);
  const replacement = withoutSlash(to);
  return (path) => {
    for (const prefix of prefixes) {
      const rest = pathBelow(path, prefix);
      if (rest !== null) return replacement + rest;
    }
    return null;
  };
}

/**
 * The response to a request whose path the rule does not match, although a server might read it as a matching path;
 * `undefined` otherwise. Without it, a client could bypass the rule by another spelling of a path.
 */
function refuseDoubtful(rule: PathRule, { path, otherPaths }: RequestContext): Response | undefined {
  if (otherPaths.every((other) => rule(other) === null) || rule(path) !== null) return;
  return refuse(400, "The path can be read in several ways");
}

/** Path and query of a target; the query includes its question mark. */
function splitTarget(target: string): [path: string, query: string] {
  const query = target.indexOf("?");
  return query < 0 ? [target, ""] : [target.slice(0, query), target.slice(query)];
}

/** Options of {@linkcode redirect} in addition to the two addresses. */
export interface RedirectOptions {
  /** 301 and 308 are permanent, 302 and 307 temporary; 307 and 308 keep the method. @default {302} */
  status?: 301 | 302 | 303 | 307 | 308;
  /** Whether the query is kept if the new address has none. @default {true} */
  keepQuery?: boolean;
}

/** Returns the address for the client; without a result the request continues. Must not be async. */
type RedirectTo = (ctx: RequestContext) => string | null | void;

const REDIRECT_RULES: Rules<RedirectOptions> = {
  status: must(
    (status) => [301, 302, 303, 307, 308].includes(status as number),
    "301, 302, 303, 307 or 308",
  ),
  keepQuery: FLAG,
};
const REDIRECT_BY_FUNCTION = object<RedirectOptions>(
  REDIRECT_RULES,
  'an object with "status" and "keepQuery"',
);
const REDIRECT = object<{ from: string | RegExp; to: string } & RedirectOptions>(
  {
    from: required(FROM),
    to: required(text("a path or an address")),
    ...REDIRECT_RULES,
  },
  "a path, an address and options",
  {
    check({ from, to }, report) {
      if (typeof to !== "string" || siteOf(to, from instanceof RegExp) !== null) return;
      report(`must have a host that does not come from the path, received ${JSON.stringify(to)}`, "to");
    },
  },
);

/**
 * Responds with a redirect; requests that the rule does not match continue.
 *
 * - `redirect("/old", "https://new.example")`: the path itself and all paths below it; the rest of the path is kept;
 * - `redirect(/^\/p\/(\d+)$/, "/products/$1", { status: 308 })`: as `String.replace`, on the path without the query;
 * - `redirect((ctx) => ..., options)`: returns the value of `Location`; without a result the request continues. Must
 *   not be async.
 *
 * Paths are compared like those of routes (`paths` of the configuration), and the kept part of a path has the same
 * form. A path that the rule does not match, but that a server could read as matching, gets 400.
 *
 * A request path never becomes another host: the part after the host of `to` begins with a slash, which is added if
 * missing, and of several slashes or backslashes at the beginning of a path (`//host/`) one slash is kept. The address
 * returned by a function is used unchanged.
 *
 * @throws {TypeError} when `from` does not begin with a slash, `to` has a scheme but no host, or a host that depends on
 * the path (`"https://$1.example/"`), or `status` is not a redirect
 *
 * @example
 * ```ts
 * import { defineConfig, redirect } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [redirect("/docs", "https://docs.example", { status: 308 })],
 * });
 * ```
 */
export function redirect(
  ...rule:
    | [from: string | RegExp, to: string, options?: RedirectOptions]
    | [to: (ctx: RequestContext) => string | null | void, options?: RedirectOptions]
): Filters {
  const { locate, options } = compileRedirect(rule);
  const { status = 302 } = options;
  return named("redirect", {
    requestFilter: (_request, ctx) => {
      const location = locate(ctx);
      if (location instanceof Response) return location;
      if (location === null || location === undefined) return;
      if (typeof location !== "string") throw unexpected("an address or nothing", location);
      return new Response(null, { status, headers: { location: asciiTarget(location) } });
    },
  });
}

/** Returns the new address, or the response to a request with an ambiguous path. */
type Locate = (ctx: RequestContext) => ReturnType<RedirectTo> | Response;

function compileRedirect(rule: Parameters<typeof redirect>): { locate: Locate; options: RedirectOptions } {
  if (typeof rule[0] === "function") {
    const options = (rule[1] ?? {}) as RedirectOptions;
    checkFilter("redirect", REDIRECT_BY_FUNCTION, options);
    return { locate: rule[0], options };
  }
  const [from, to, options = {}] = rule as [string | RegExp, string, RedirectOptions?];
  // A plain status would be lost below.
  if (!isRecord(options)) checkFilter("redirect", REDIRECT_BY_FUNCTION, options);
  checkFilter("redirect", REDIRECT, { from, to, ...options });
  const { keepQuery = true } = options;
  const apply = compilePathRule(from, to);
  const site = siteOf(to, from instanceof RegExp)!;
  const locate: Locate = (ctx) => {
    const { path, target } = ctx;
    const made = apply(path);
    if (made === null) return refuseDoubtful(apply, ctx);
    const [, query] = splitTarget(target);
    // A pattern that does not match from the beginning keeps the beginning of the path in front.
    const elsewhere = site !== "" && (typeof from === "string" || path.search(from) === 0);
    const location = elsewhere ? site + withSlash(made.slice(site.length)) : made.replace(/^[/\\]*/, "/");
    return keepQuery && !location.includes("?") ? location + query : location;
  };
  return { locate, options };
}

/** Adds a slash after a host, unless the rest is empty, a query, a fragment or a path. */
function withSlash(rest: string): string {
  return rest === "" || /^[/?#]/.test(rest) ? rest : `/${rest}`;
}

/**
 * Scheme and host of an address, `""` for a path; `null` for a scheme without a host, or a host that depends on the
 * path.
 *
 * @param pattern whether `$1` and similar stand for parts of the path
 */
function siteOf(to: string, pattern: boolean): string | null {
  if (!/^(?:[a-z][a-z0-9+.-]*:|\/\/)/i.test(to)) return "";
  const [authority] = /^(?:[a-z][a-z0-9+.-]*:)?\/\/[^/?#\\]+/i.exec(to) ?? [];
  // The path may follow directly after the host: `"https://new.example$1"`.
  const site = pattern ? authority?.replace(/\$(?:\d\d?|<[^>]*>|[&'`])$/, "") : authority;
  const isHost = site !== undefined && /[a-z0-9\]]$/i.test(site) && !(pattern && site.includes("$"));
  return isHost ? site : null;
}

/** Maps the current target for the server, path and query, to a new one; must not be async. */
type RewriteTarget = (target: string, ctx: RequestContext) => string;

/**
 * Rewrites the path for the server; other targets are forwarded unchanged.
 *
 * - `rewritePath("/api", "/v1")`: the path itself and all paths below it; `rewritePath("/api", "/")` removes the
 *   prefix;
 * - `rewritePath(/^\/u\/(\d+)$/, "/users/$1")`: as `String.replace`, on the path without the query;
 * - `rewritePath((target, ctx) => ...)`: maps the current path and query to new ones; must not be async.
 *
 * Paths are compared like those of routes (`paths` of the configuration), and the kept part of a path has the same
 * form. A path that the rule does not match, but that a server could read as matching, gets 400.
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
  ...rule: [from: string | RegExp, to: string] | [rewrite: (target: string, ctx: RequestContext) => string]
): Filters {
  const { rewrite, apply } = compileRewritePath(rule);
  return named("rewritePath", {
    ...(apply !== null && { requestFilter: (_request, ctx) => refuseDoubtful(apply, ctx) }),
    upstreamRequestFilter: (request, ctx) => {
      const made = rewrite(request.target, ctx);
      if (made === request.target) return;
      if (typeof made !== "string") throw unexpected("a path", made);
      const target = asciiTarget(made.startsWith("/") ? made : `/${made}`);
      // A space or a line break would end the target, and the server would parse the rest, written by an attacker, as a
      // request.
      if (!TARGET.test(target)) throw new TypeError(`it made the target ${JSON.stringify(target)}`);
      request.target = target;
    },
  });
}

/** Valid characters of a request line: no space, control character or fragment. */
const TARGET = /^[!"$-~]+$/;

interface Compiled {
  readonly rewrite: RewriteTarget;
  /** The rule; `null` for a function. */
  readonly apply: PathRule | null;
}

const REWRITE = object<{ from: string | RegExp; to: string }>(
  {
    from: required(FROM),
    to: required(text("a path")),
  },
  "a path and another one, or a function",
  {
    check({ from, to }, report) {
      if (typeof from !== "string" || typeof to !== "string" || to === "" || to.startsWith("/")) return;
      report(`must be a path that begins with "/", received ${JSON.stringify(to)}`, "to");
    },
  },
);

function compileRewritePath(rule: [from: string | RegExp, to: string] | [rewrite: RewriteTarget]): Compiled {
  const [from, to = ""] = rule;
  if (typeof from === "function") return { rewrite: from, apply: null };
  checkFilter("rewritePath", REWRITE, { from, to });
  const apply = compilePathRule(from, to);
  const rewrite: RewriteTarget = (target, ctx) => {
    const [path, query] = splitTarget(target);
    // A target rewritten by another filter or rule is no longer the client's path.
    const made = apply(target === ctx.target ? ctx.path : path);
    // With several slashes a server may take the first segment for a host.
    return made === null ? target : made.replace(/^[/\\]{2,}/, "/") + query;
  };
  return { rewrite, apply };
}
