/** Verifies JWTs; loaded only if a configuration uses them. */

import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  errors,
  jwtVerify,
  type JWTVerifyGetKey,
} from "jose";
import type { Awaitable } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";

/** Result for a token: its claims, `null` if it is invalid, `"unavailable"` if the keys are not available. */
export type VerifyToken = (
  token: string,
  ctx: RequestContext,
) => Awaitable<Readonly<Record<string, unknown>> | null | "unavailable">;

/** Validated options with every default filled in. */
export interface JwtPlan {
  readonly key:
    | { readonly jwksUrl: URL }
    | { readonly keys: readonly Readonly<Record<string, unknown>>[] }
    | {
      readonly secret: Uint8Array<ArrayBuffer>;
    };
  readonly issuer: readonly string[] | null;
  readonly audience: readonly string[] | null;
  readonly algorithms: readonly string[];
  readonly toleranceSeconds: number;
  readonly requiredClaims: readonly string[];
}

/** Errors that are not caused by the token: the keys could not be fetched. */
const UNAVAILABLE: ReadonlySet<string> = new Set([
  "ERR_JWKS_TIMEOUT",
  "ERR_JWKS_INVALID",
  "ERR_JOSE_GENERIC",
]);

/** Makes the function that verifies tokens. */
export function jwtVerifier(plan: JwtPlan): VerifyToken {
  const key = keyOf(plan);
  const options = {
    algorithms: [...plan.algorithms],
    clockTolerance: plan.toleranceSeconds,
    requiredClaims: [...plan.requiredClaims],
    ...(plan.issuer === null ? {} : { issuer: [...plan.issuer] }),
    ...(plan.audience === null ? {} : { audience: [...plan.audience] }),
  };
  const verify = async (token: string): Promise<Readonly<Record<string, unknown>>> => {
    try {
      return (await jwtVerify(token, key, options)).payload;
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      // A token without a key id fits several keys, for example while an issuer changes its key.
      for await (const candidate of error) {
        try {
          return (await jwtVerify(token, candidate, options)).payload;
        } catch (again) {
          if (!(again instanceof errors.JWSSignatureVerificationFailed)) throw again;
        }
      }
      throw new errors.JWSSignatureVerificationFailed();
    }
  };
  return async (token, ctx) => {
    try {
      return await verify(token);
    } catch (error) {
      if (error instanceof errors.JOSEError && !UNAVAILABLE.has(error.code)) {
        ctx.log.debug("A token was refused", { reason: error.message });
        return null;
      }
      ctx.log.error("Cannot verify tokens", {
        reason: error instanceof Error ? error.message : String(error),
      });
      return "unavailable";
    }
  };
}

function keyOf({ key }: JwtPlan): JWTVerifyGetKey {
  if ("secret" in key) return () => Promise.resolve(key.secret);
  if ("keys" in key) {
    return createLocalJWKSet({ keys: key.keys as Parameters<typeof createLocalJWKSet>[0]["keys"] });
  }
  return createRemoteJWKSet(key.jwksUrl, {
    cacheMaxAge: 600_000,
    cooldownDuration: 30_000,
    timeoutDuration: 5000,
    [customFetch]: fetchKeys,
  });
}

/**
 * The library does not read the body of a response with another status than 200; unread, it would keep its connection
 * open.
 */
async function fetchKeys(...request: Parameters<typeof fetch>): Promise<Response> {
  const response = await fetch(...request);
  if (response.status === 200) return response;
  await response.body?.cancel();
  return new Response(null, { status: 502 });
}
