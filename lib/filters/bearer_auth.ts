/** Tokens (RFC 6750). */

import type { Awaitable, Filters } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { checkedBoolean } from "../core/callback.ts";
import { quoted, readCredentials } from "./authorization.ts";
import { checkedFieldName } from "./checked_fields.ts";
import { checkedEncoding, type IdentityEncoding, identityText, setIdentityField } from "./identity_field.ts";
import { compileJwt, type JwtOptions } from "./jwt_options.ts";
import type { VerifyToken } from "./jwt_verifier.ts";
import { refuse } from "./refuse.ts";
import { checkOptions } from "./checked_options.ts";

/** What a token says of its bearer. */
export type Claims = Readonly<Record<string, unknown>>;

/** Says whether a token is good, or what it says; nothing is no, and anything else fails the request (500). */
export type CheckToken = (token: string, ctx: RequestContext) => Awaitable<boolean | Claims>;

/** What {@linkcode bearerAuth} takes: `verify` or `jwt`, and more. */
export interface BearerAuthOptions {
  /** Looks at a token. */
  verify?: CheckToken;
  /** Tokens are JWTs (RFC 7519), verified by their signatures. */
  jwt?: JwtOptions;
  /** What a token must be good for, by its claim `scope` or `scp`; 403 without. @default {[]} */
  scopes?: readonly string[];
  /** Looks at what the token says, and may put it into `ctx.state`; 403 when it returns `false`, 500 when neither that, `true` nor nothing. */
  authorize?: (claims: Claims, ctx: RequestContext) => Awaitable<boolean | void>;
  /**
   * Fields that tell the server claims, by field; what a client says in them itself is dropped. A claim that is not there
   * leaves its field out; one that the field cannot carry exactly (an object, an array, a whole number above 2^53) is
   * refused with 401. @default {{}}
   */
  claimHeaders?: Readonly<Record<string, string>>;
  /**
   * How texts stand in `claimHeaders`: `"plain"` carries visible ASCII with spaces between, `"percent"` every text,
   * percent-encoded.
   *
   * @default {"plain"}
   */
  claimEncoding?: IdentityEncoding;
  /** What the client is asked for a token to. @default {"restricted"} */
  realm?: string;
  /** Whether the server gets the token too. @default {true} */
  forward?: boolean;
}

/** The options, and which of them are required. */
const OPTIONS = {
  verify: false,
  jwt: false,
  scopes: false,
  authorize: false,
  claimHeaders: false,
  claimEncoding: false,
  realm: false,
  forward: false,
} satisfies Record<keyof BearerAuthOptions, boolean>;

/**
 * Lets requests through that bear a good token in `Authorization`.
 *
 * 401 without or with a bad one, 403 with one that is good for something else, both with `WWW-Authenticate`
 * (RFC 6750 section 3); 503 while the keys of a `jwks` cannot be had.
 *
 * @throws {TypeError} when an option cannot be read
 *
 * @example
 * ```ts
 * import { bearerAuth, defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [bearerAuth({
 *     jwt: {
 *       jwks: "https://login.example/.well-known/jwks.json",
 *       issuer: "https://login.example/",
 *       audience: "my-api",
 *     },
 *     scopes: ["read"],
 *     claimHeaders: { "x-user": "sub" },
 *   })],
 * });
 * ```
 */
export function bearerAuth(options: BearerAuthOptions): Filters {
  checkOptions("bearerAuth", options, OPTIONS);
  const { scopes = [], authorize, claimHeaders = {}, realm = "restricted", forward = true } = options;
  const encoding = checkedEncoding("bearerAuth", "claimEncoding", options.claimEncoding ?? "plain");
  const check = compileCheck(options);
  const challenge = `Bearer realm=${quoted("bearerAuth", realm)}`;
  const needed = scopes.length === 0 ? "" : `, scope=${quoted("bearerAuth", scopes.join(" "))}`;
  const told = Object.entries(claimHeaders).map(([name, claim]) =>
    [checkedFieldName("bearerAuth", name), claim] as const
  );
  const verified = new WeakMap<RequestContext, readonly (string | null | undefined)[]>();
  const invalid = (detail: string) =>
    refuse(401, detail, { "www-authenticate": `${challenge}, error="invalid_token"` });
  const insufficient = () =>
    refuse(403, "The token is not good for this", {
      "www-authenticate": `${challenge}, error="insufficient_scope"${needed}`,
    });
  return {
    requestFilter: async (request, ctx) => {
      const authorization = request.headers.get("authorization");
      if (authorization === null) {
        return refuse(401, "A token is needed", { "www-authenticate": challenge });
      }
      const token = readCredentials(authorization, "bearer");
      const claims = token === null ? null : await check(token, ctx);
      if (claims === "unavailable") {
        return refuse(503, "Tokens cannot be verified now", { "retry-after": "5" });
      }
      if (claims === null) return invalid("The token is not valid");
      if (!hasScopes(claims, scopes)) return insufficient();
      if (authorize !== undefined) {
        const answer: unknown = await authorize(claims, ctx);
        if (answer !== undefined && !checkedBoolean(answer)) return insufficient();
      }
      const texts = told.map(([, claim]) => claimText(claims, claim, encoding));
      const stray = texts.indexOf(undefined);
      if (stray >= 0) {
        const [name, claim] = told[stray]!;
        ctx.log.warn("A token was refused", {
          reason: `the field ${name} cannot carry its claim ${JSON.stringify(claim)} exactly`,
        });
        return invalid("What the token says cannot be passed on");
      }
      verified.set(ctx, texts);
      return undefined;
    },
    ...(told.length === 0 && forward ? {} : {
      upstreamRequestFilter: ({ headers }, ctx) => {
        if (!forward) headers.delete("authorization");
        const texts = verified.get(ctx);
        told.forEach(([name], i) => setIdentityField(headers, name, texts?.[i] ?? null));
      },
    }),
  };
}

function compileCheck({ verify, jwt }: BearerAuthOptions): VerifyToken {
  if ((verify === undefined) === (jwt === undefined)) {
    throw new TypeError('Cannot make the filter bearerAuth: it takes either "verify" or "jwt"');
  }
  if (jwt !== undefined) return compileJwt(jwt);
  return async (token, ctx) => {
    const found = await verify!(token, ctx);
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return found;
    return checkedBoolean(found) ? {} : null;
  };
}

/** RFC 8693 section 4.2 has a text with spaces; some issuers write an array, and call it `scp`. */
function hasScopes(claims: Claims, needed: readonly string[]): boolean {
  if (needed.length === 0) return true;
  const { scope, scp } = claims;
  const said: unknown = scope ?? scp;
  const scopes: unknown[] = typeof said === "string" ? said.split(" ") : Array.isArray(said) ? said : [];
  return needed.every((each) => scopes.includes(each));
}

/** A claim as it stands in a field; `null` when it is not there, `undefined` when a field cannot carry it exactly. */
function claimText(claims: Claims, claim: string, encoding: IdentityEncoding): string | null | undefined {
  const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
  if (value === undefined || value === null) return null;
  return identityText(value, encoding) ?? undefined;
}
