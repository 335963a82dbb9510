// Only requests with a valid JWT pass, and the server gets the user of the token.
//
//   deno run -A ../mod.ts jwt_auth.config.ts
// 401, with a challenge:
//   curl -v "http://127.0.0.1:6188/"
// Get a token:
//   export TOKEN=$(curl -s "http://127.0.0.1:6188/login?user=ann")
// 200, and the server sees x-user: ann:
//   curl -v "http://127.0.0.1:6188/" -H "Authorization: Bearer $TOKEN"
// 403, for root only:
//   curl -v "http://127.0.0.1:6188/admin" -H "Authorization: Bearer $TOKEN"

import { bearerAuth, defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

// With an identity provider in place of this file it would be `jwt: { jwks: "https://login.example/jwks.json", ... }`.
const SECRET = "out of the environment, 32 bytes or more";

/** Signs a token that is valid for ten minutes, as an identity provider would. */
async function signToken(user: string): Promise<string> {
  const encode = (bytes: Uint8Array<ArrayBuffer>) =>
    bytes.toBase64({ alphabet: "base64url", omitPadding: true });
  const bytesOf = (text: string) => new TextEncoder().encode(text);
  const claims = { iss: "demo", aud: "api", sub: user, exp: Math.floor(Date.now() / 1000) + 600 };
  const content = [{ alg: "HS256" }, claims].map((part) => encode(bytesOf(JSON.stringify(part)))).join(".");
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytesOf(SECRET), algorithm, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, bytesOf(content));
  return `${content}.${encode(new Uint8Array(signature))}`;
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one")],

  // Runs before the filter sets below: this one needs no token.
  async requestFilter(_request, ctx) {
    if (!ctx.target.startsWith("/login?user=")) return undefined;
    return new Response(await signToken(ctx.target.slice("/login?user=".length)));
  },

  filters: [
    bearerAuth({
      jwt: { secret: SECRET, issuer: "demo", audience: "api" },
      authorize: ({ sub }, ctx) => !ctx.target.startsWith("/admin") || sub === "root",
      claimHeaders: { "x-user": "sub" },
      forward: false, // the server does not need the token
    }),
  ],
});
