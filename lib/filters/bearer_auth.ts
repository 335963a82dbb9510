/** Bearer tokens (RFC 6750), and options for the verification of JWTs. */

import {
  ANYTHING,
  choose,
  DURATION,
  FLAG,
  FUNCTION,
  isRecord,
  list,
  must,
  object,
  text,
} from "../core/options.ts";
import { checkedBoolean } from "../core/callback.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import { type Awaitable, type Filters, named } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import {
  checkFilter,
  ENCODING,
  fields,
  type IdentityEncoding,
  identityText,
  quoted,
  readCredentials,
  REALM,
  refuse,
  setIdentityField,
} from "./filter_support.ts";
import type { JwtPlan, VerifyToken } from "./jwt_verifier.ts";

/** Requirements for JWTs; `jwks` or `secret` has the key. */
export interface JwtOptions {
  /**
   * Public keys as a JSON Web Key Set (RFC 7517): its URL, or the set itself. The keys are fetched at their first use,
   * cached for ten minutes, and fetched again for an unknown key, at most every 30 seconds.
   *
   * @default {none}
   */
  jwks?: string | { readonly keys: readonly Readonly<Record<string, unknown>>[] };
  /** The shared secret of HS256, HS384 and HS512; 32 bytes or more. @default {none} */
  secret?: string | Uint8Array<ArrayBuffer>;
  /** Accepted issuers of the token (claim `iss`). @default {any} */
  issuer?: string | readonly string[];
  /** Accepted audiences of the token (claim `aud`). @default {any} */
  audience?: string | readonly string[];
  /**
   * Signature algorithms; never `none`, and never those of a secret with public keys or vice versa (RFC 8725 section
   * 3.1). @default {those of public keys with `jwks`, HS256, HS384 and HS512 with `secret`}
   */
  algorithms?: readonly string[];
  /** Accepted difference between clocks. @default {"0s"} */
  clockTolerance?: Duration;
  /** Claims that are required. @default {["exp"]} */
  requiredClaims?: readonly string[];
}

const OF_SECRETS: readonly string[] = ["HS256", "HS384", "HS512"];
const OF_KEYS: readonly string[] = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

const TEXTS = list(text("a text"), "a text, or an array of texts");
const TEXT_OR_TEXTS = choose((value) => typeof value === "string" ? ANYTHING : TEXTS);

const JWT = object<JwtOptions>(
  {
    jwks: must(isKeySet, "the URL of a key set or one itself"),
    secret: (value, report) => {
      // RFC 7518 section 3.2: a shorter secret can be guessed from a single token.
      const length = secretBytes(value)?.byteLength ?? null;
      if (length === null || length < 32) report(`must have 32 bytes or more, has ${length ?? "none"}`);
    },
    issuer: TEXT_OR_TEXTS,
    audience: TEXT_OR_TEXTS,
    algorithms: list(
      text("the name of an algorithm"),
      "an array of names of algorithms",
      "at least one algorithm",
    ),
    clockTolerance: DURATION,
    requiredClaims: list(text("the name of a claim"), "an array of names of claims"),
  },
  'an object with "jwks" or "secret"',
  {
    check({ jwks, secret, algorithms }, report) {
      if ((jwks === undefined) === (secret === undefined)) return report('takes either "jwks" or "secret"');
      if (!Array.isArray(algorithms)) return;
      const possible = secret === undefined ? OF_KEYS : OF_SECRETS;
      algorithms.forEach((algorithm, i) => {
        if (typeof algorithm !== "string" || possible.includes(algorithm)) return;
        const message = `must be one of ${possible.join(", ")} with this key, received ${
          JSON.stringify(algorithm)
        }`;
        report(message, "algorithms", i);
      });
    },
  },
);

function isKeySet(value: unknown): boolean {
  if (isRecord(value)) return Array.isArray(value.keys);
  const url = typeof value === "string" ? URL.parse(value) : null;
  return url !== null && (url.protocol === "https:" || url.protocol === "http:");
}

function secretBytes(secret: unknown): Uint8Array<ArrayBuffer> | null {
  if (typeof secret === "string") return new TextEncoder().encode(secret);
  return secret instanceof Uint8Array ? new Uint8Array(secret) : null;
}

/** Makes the function that verifies tokens; it loads the library at its first call. */
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
  const { jwks, secret, issuer, audience, clockTolerance = "0s", requiredClaims = ["exp"] } = options;
  const { algorithms = secret === undefined ? OF_KEYS : OF_SECRETS } = options;
  return {
    key: secret !== undefined
      ? { secret: secretBytes(secret)! }
      : typeof jwks === "object"
      ? { keys: jwks.keys }
      : { jwksUrl: new URL(jwks!) },
    issuer: issuer === undefined ? null : several(issuer),
    audience: audience === undefined ? null : several(audience),
    algorithms,
    toleranceSeconds: parseDuration(clockTolerance)! / 1000,
    requiredClaims,
  };
}

function several(value: string | readonly string[]): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

/** The claims of a token. */
type Claims = Readonly<Record<string, unknown>>;

/** Options of {@linkcode bearerAuth}: `verify` or `jwt`, and others. */
export interface BearerAuthOptions {
  /**
   * Checks a token. It returns whether the token is valid, or its claims; no result means no, and any other value fails
   * the request (500).
   *
   * @default {none}
   */
  verify?: (token: string, ctx: RequestContext) => Awaitable<boolean | Readonly<Record<string, unknown>>>;
  /** Tokens are JWTs (RFC 7519), verified by their signatures. @default {none} */
  jwt?: JwtOptions;
  /** Scopes that a token must have, in its claim `scope` or `scp`; otherwise 403. @default {[]} */
  scopes?: readonly string[];
  /**
   * Checks the claims, and may store them in `ctx.state`; 403 if it returns `false`, 500 if it returns neither that,
   * `true` nor nothing.
   *
   * @default {none}
   */
  authorize?: (claims: Readonly<Record<string, unknown>>, ctx: RequestContext) => Awaitable<boolean | void>;
  /**
   * Fields with claims for the server, by field name; fields of the client with these names are removed. A missing
   * claim omits its field. A claim that the field cannot carry exactly (an object, an array, a whole number above 2^53)
   * is refused with 401. @default {{}}
   */
  claimHeaders?: Readonly<Record<string, string>>;
  /**
   * Encoding of texts in `claimHeaders`: `"plain"` carries visible ASCII with spaces between, `"percent"` every text,
   * percent-encoded.
   *
   * @default {"plain"}
   */
  claimEncoding?: "plain" | "percent";
  /** The realm: what the token is for; sent to the client with a 401. @default {"restricted"} */
  realm?: string;
  /** Whether the server receives the token too. @default {true} */
  forward?: boolean;
}

const OPTIONS = object<BearerAuthOptions>(
  {
    verify: FUNCTION,
    jwt: JWT,
    scopes: list(REALM, "an array of scopes"),
    authorize: FUNCTION,
    claimHeaders: fields(text("the name of a claim"), "an object of fields and the names of their claims"),
    claimEncoding: ENCODING,
    realm: REALM,
    forward: FLAG,
  },
  'an object with "verify" or "jwt"',
  {
    check({ verify, jwt }, report) {
      if ((verify === undefined) === (jwt === undefined)) report('must have either "verify" or "jwt"');
    },
  },
);

/**
 * Requires a valid bearer token in `Authorization`.
 *
 * Responds 401 to a missing or invalid token and 403 to insufficient rights, both with `WWW-Authenticate` (RFC 6750
 * section 3), and 503 while the keys of a `jwks` are unavailable.
 *
 * @throws {TypeError} when an option is invalid
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
  checkFilter("bearerAuth", OPTIONS, options);
  const { scopes = [], authorize, claimHeaders = {}, realm = "restricted", forward = true } = options;
  const { claimEncoding: encoding = "plain" } = options;
  const check = compileCheck(options);
  const challenge = `Bearer realm=${quoted(realm)}`;
  const needed = scopes.length === 0 ? "" : `, scope=${quoted(scopes.join(" "))}`;
  const claimFields = Object.entries(claimHeaders).map(([name, claim]) =>
    [name.toLowerCase(), claim] as const
  );
  const verified = new WeakMap<RequestContext, readonly (string | null | undefined)[]>();
  const invalid = (detail: string) =>
    refuse(401, detail, { "www-authenticate": `${challenge}, error="invalid_token"` });
  const insufficient = () =>
    refuse(403, "The token does not allow this", {
      "www-authenticate": `${challenge}, error="insufficient_scope"${needed}`,
    });
  return named("bearerAuth", {
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
        const result: unknown = await authorize(claims, ctx);
        if (result !== undefined && !checkedBoolean(result)) return insufficient();
      }
      const texts = claimFields.map(([, claim]) => claimText(claims, claim, encoding));
      const stray = texts.indexOf(undefined);
      if (stray >= 0) {
        const [name, claim] = claimFields[stray]!;
        ctx.log.warn("A token was refused", {
          reason: `the field ${name} cannot carry its claim ${JSON.stringify(claim)} exactly`,
        });
        return invalid("What the token says cannot be passed on");
      }
      verified.set(ctx, texts);
      return undefined;
    },
    ...(claimFields.length === 0 && forward ? {} : {
      upstreamRequestFilter: ({ headers }, ctx) => {
        if (!forward) headers.delete("authorization");
        const texts = verified.get(ctx);
        claimFields.forEach(([name], i) => setIdentityField(headers, name, texts?.[i] ?? null));
      },
    }),
  });
}

function compileCheck({ verify, jwt }: BearerAuthOptions): VerifyToken {
  if (jwt !== undefined) return compileJwt(jwt);
  return async (token, ctx) => {
    const found = await verify!(token, ctx);
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return found;
    return checkedBoolean(found) ? {} : null;
  };
}

/** RFC 8693 section 4.2 defines a text with spaces; some issuers send an array, and name it `scp`. */
function hasScopes(claims: Claims, needed: readonly string[]): boolean {
  if (needed.length === 0) return true;
  const { scope, scp } = claims;
  const granted: unknown = scope ?? scp;
  const scopes: unknown[] = typeof granted === "string"
    ? granted.split(" ")
    : Array.isArray(granted)
    ? granted
    : [];
  return needed.every((each) => scopes.includes(each));
}

/** A claim as field value; `null` if it is missing, `undefined` if a field cannot carry it exactly. */
function claimText(claims: Claims, claim: string, encoding: IdentityEncoding): string | null | undefined {
  const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
  if (value === undefined || value === null) return null;
  return identityText(value, encoding) ?? undefined;
}
