/** Tokens (RFC 6750), and how those are verified that are JWTs. */

import { checkedBoolean } from "../core/callback.ts";
import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import type { Awaitable, Filters } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import {
  checkedEncoding,
  type IdentityEncoding,
  identityText,
  quoted,
  readCredentials,
  setIdentityField,
} from "./credentials.ts";
import { checkedFieldName, checkOptions, refuse } from "./filter_support.ts";
import type { JwtPlan, VerifyToken } from "./jwt_verifier.ts";

/** Which JWTs are good; `jwks` or `secret` has the key. */
export interface JwtOptions {
  /**
   * Public keys as a JSON Web Key Set (RFC 7517): where they are, or the set itself. They are fetched when they are needed
   * first, kept for ten minutes, and fetched again for a key that is not among them, every 30 seconds at most.
   */
  jwks?: string | { readonly keys: readonly Readonly<Record<string, unknown>>[] };
  /** The shared secret of HS256, HS384 and HS512; 32 bytes or more. */
  secret?: string | Uint8Array<ArrayBuffer>;
  /** Who must have made the token, `iss`. */
  issuer?: string | readonly string[];
  /** For whom it must have been made, `aud`; one of these. */
  audience?: string | readonly string[];
  /**
   * Algorithms of the signature; never `none`, and never those of a secret with public keys or the other way round
   * (RFC 8725 section 3.1). @default {those of public keys with `jwks`, HS256, HS384 and HS512 with `secret`}
   */
  algorithms?: readonly string[];
  /** How far clocks may differ. @default {"0s"} */
  clockTolerance?: Duration;
  /** Claims that must be there. @default {["exp"]} */
  requiredClaims?: readonly string[];
}

const OF_SECRETS: readonly string[] = ["HS256", "HS384", "HS512"];
const OF_KEYS: readonly string[] = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/**
 * Makes the function that verifies tokens; the library that does is loaded with the first one.
 *
 * @throws {TypeError} when an option cannot be read
 */
function compileJwt(options: JwtOptions): VerifyToken {
  const plan = resolveJwt(options);
  let loading: Promise<VerifyToken> | null = null;
  const load = async (): Promise<VerifyToken> => {
    const { jwtVerifier } = await import("./jwt_verifier.ts");
    return jwtVerifier(plan);
  };
  return async (token, ctx) => {
    loading ??= load();
    return await (await loading)(token, ctx);
  };
}

function resolveJwt(options: JwtOptions): JwtPlan {
  const { clockTolerance = "0s", requiredClaims = ["exp"], issuer, audience } = options;
  const key = resolveKey(options);
  const possible = "secret" in key ? OF_SECRETS : OF_KEYS;
  const algorithms = options.algorithms ?? possible;
  const stray = algorithms.find((algorithm) => !possible.includes(algorithm));
  if (stray !== undefined || algorithms.length === 0) {
    throw problem(`"algorithms" must be of ${possible.join(", ")} with this key, received "${stray ?? ""}"`);
  }
  const toleranceMs = parseDuration(clockTolerance);
  if (toleranceMs === undefined) throw problem(`"clockTolerance" must be ${DURATION_EXPECTED}`);
  return {
    key,
    issuer: issuer === undefined ? null : list(issuer),
    audience: audience === undefined ? null : list(audience),
    algorithms,
    toleranceSeconds: toleranceMs / 1000,
    requiredClaims,
  };
}

function resolveKey({ jwks, secret }: JwtOptions): JwtPlan["key"] {
  if ((jwks === undefined) === (secret === undefined)) {
    throw problem('"jwt" takes either "jwks" or "secret"');
  }
  if (secret !== undefined) {
    const bytes = typeof secret === "string" ? new TextEncoder().encode(secret) : secret.slice();
    // RFC 7518 section 3.2: a shorter one can be guessed from a single token.
    if (bytes.byteLength < 32) throw problem(`"secret" must have 32 bytes or more, has ${bytes.byteLength}`);
    return { secret: bytes };
  }
  if (typeof jwks === "object" && Array.isArray(jwks.keys)) return { keys: jwks.keys };
  if (typeof jwks === "string" && URL.canParse(jwks)) {
    const jwksUrl = new URL(jwks);
    if (jwksUrl.protocol === "https:" || jwksUrl.protocol === "http:") return { jwksUrl };
  }
  throw problem(`"jwks" must be the URL of a key set or one itself, received ${JSON.stringify(jwks)}`);
}

function list(value: string | readonly string[]): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

function problem(text: string): TypeError {
  return new TypeError(`Cannot make the filter bearerAuth: ${text}`);
}

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
