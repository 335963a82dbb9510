/** How tokens are verified that are JWTs. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/duration.ts";
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
export function compileJwt(options: JwtOptions): VerifyToken {
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
