import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { bearerAuth, type BearerAuthOptions } from "../../../lib/filters/bearer_auth.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const SECRET = "a secret that is long enough for HS256";
const ISSUER = "https://login.example/";
const encoder = new TextEncoder();

const base64url = (text: string) => btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const unsigned = (header: unknown, claims: unknown) =>
  `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}.`;

function signed(claims: JWTPayload, alg: string, key: CryptoKey | Uint8Array, kid?: string): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg, ...(kid === undefined ? {} : { kid }) }).sign(key);
}

/** Claims that are good for ten minutes. */
function claims(more: JWTPayload = {}): JWTPayload {
  return { sub: "ann", iss: ISSUER, aud: "api", exp: Math.floor(Date.now() / 1000) + 600, ...more };
}

async function startGuarded(options: BearerAuthOptions) {
  await using stack = new AsyncDisposableStack();
  const upstream = stack.use(recordingUpstream());
  const proxy = stack.use(
    await startProxy({
      listen: { hostname: "127.0.0.1", port: 0, underscores: "pass" },
      upstreams: [upstream.address],
      filters: [bearerAuth(options)],
    }),
  );
  const moved = stack.move();
  const ask = (token: string, lines: string[] = []) =>
    proxy.ask("GET /", [`Authorization: Bearer ${token}`, ...lines]);
  return { upstream, proxy, ask, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

Deno.test("bearerAuth() asks a function about tokens, and challenges as RFC 6750 says", async () => {
  await using guarded = await startGuarded({
    verify: async (token) => await Promise.resolve(token === "good"),
    realm: "api",
  });
  const { proxy, ask, upstream } = guarded;
  assertEquals((await ask("good")).status, 200);
  assertEquals(upstream.sent("authorization"), ["Bearer good"]);
  const none = await proxy.ask();
  assertEquals([none.status, none.field("www-authenticate")], [401, 'Bearer realm="api"']);
  for (
    const line of [
      "Authorization: Bearer bad",
      "Authorization: Bearer",
      "Authorization: Bearer good good",
      "Authorization: Bearer good, Bearer good",
      "Authorization: Bearer =good",
      "Authorization: good",
      "Authorization: Basic good",
      "Authorization: Bearer good\r\nAuthorization: Bearer good",
      `Authorization: Bearer ${"a".repeat(8000)}`,
    ]
  ) {
    const { status, field } = await proxy.ask("GET /", [line]);
    assertEquals(
      [status, field("www-authenticate")],
      [401, 'Bearer realm="api", error="invalid_token"'],
      line,
    );
  }
  assertEquals(upstream.requests.length, 1);
});

Deno.test("bearerAuth() needs scopes, by text or array, and tells the server claims that fit into a field", async () => {
  await using guarded = await startGuarded({
    verify: (token) => ({
      sub: token,
      scope: token === "ann" ? "write read" : "read",
      n: 7,
      nothing: null,
    }),
    scopes: ["read", "write"],
    claimHeaders: { "X-User": "sub", "x-n": "n", "x-nothing": "nothing", "x-none": "constructor" },
    forward: false,
  });
  const { ask, upstream } = guarded;
  const spoofed = ["X-User: root", "X_User: root", "X-Nothing: root", "X-None: root"];
  assertEquals((await ask("ann", spoofed)).status, 200);
  assertEquals(
    ["x-user", "x_user", "x-n", "x-nothing", "x-none", "authorization"].map((name) => upstream.sent(name)),
    [["ann"], [], ["7"], [], [], []],
  );
  const { status, field } = await ask("bob");
  assertEquals([status, field("www-authenticate")], [
    403,
    'Bearer realm="restricted", error="insufficient_scope", scope="read write"',
  ]);
});

/** Claims that a server would take for others, if it got them at all. */
const INEXACT: readonly unknown[] = [
  ...[
    "admin\u00a0",
    " admin ",
    "admin ",
    "\tadmin",
    "admin\n",
    "é",
    "\u00ff",
    "管理",
    "\ud800",
    "a\r\nx-role: root",
    "a\0",
  ],
  ...[2 ** 53, 12345678901234567890, -(2 ** 60)],
  ...[["admin"], { name: "admin" }],
];

Deno.test("bearerAuth() refuses tokens whose claims a field cannot carry exactly", async () => {
  await using guarded = await startGuarded({ jwt: { secret: SECRET }, claimHeaders: { "x-user": "sub" } });
  const { ask, upstream, proxy } = guarded;
  const token = (sub: unknown) => signed({ ...claims(), sub } as JWTPayload, "HS256", encoder.encode(SECRET));
  const carried: [unknown, string][] = [
    ["admin", "admin"],
    ["%C3%A9", "%C3%A9"],
    ["Ann Example", "Ann Example"],
    ["", ""],
    [7, "7"],
    [2 ** 53 - 1, "9007199254740991"],
    [0.5, "0.5"],
    [true, "true"],
  ];
  for (const [sub, text] of carried) {
    assertEquals((await ask(await token(sub))).status, 200, text);
    assertEquals(upstream.sent("x-user"), [text]);
  }
  const served = upstream.requests.length;
  for (const sub of INEXACT) {
    const { status, field } = await ask(await token(sub), ["X-User: admin"]);
    assertEquals([status, field("www-authenticate")], [
      401,
      'Bearer realm="restricted", error="invalid_token"',
    ], JSON.stringify(sub));
  }
  assertEquals(upstream.requests.length, served);
  const [event] = proxy.seen.eventsOf("request_log");
  assertEquals([event?.level, event?.fields.reason], [
    "warn",
    'the field x-user cannot carry its claim "sub" exactly',
  ]);
});

Deno.test("bearerAuth() with claimEncoding tells the server every text, no two alike", async () => {
  await using guarded = await startGuarded({
    jwt: { secret: SECRET },
    claimHeaders: { "x-user": "sub" },
    claimEncoding: "percent",
  });
  const texts = [
    ...INEXACT.filter((each) => typeof each === "string" && each.isWellFormed()),
    "admin",
    "%C3%A9",
  ];
  const sent = new Set<string>();
  for (const sub of texts as string[]) {
    assertEquals(
      (await guarded.ask(await signed(claims({ sub }), "HS256", encoder.encode(SECRET)))).status,
      200,
    );
    const [text] = guarded.upstream.sent("x-user");
    assertEquals(decodeURIComponent(text!), sub);
    sent.add(text!);
  }
  assertEquals(sent.size, texts.length);
});

Deno.test("bearerAuth() asks authorize about the claims", async () => {
  await using guarded = await startGuarded({
    verify: (token) => ({ sub: token, scp: ["read"] }),
    scopes: ["read"],
    authorize: ({ sub }, ctx) => {
      ctx.state = sub;
      return sub === "ann";
    },
  });
  assertEquals((await guarded.ask("ann")).status, 200);
  assertEquals((await guarded.ask("bob")).status, 403);
});

Deno.test("bearerAuth() takes JWTs of a secret, and no other", async (t) => {
  const jwt = { secret: SECRET, issuer: ISSUER, audience: ["api", "admin"], clockTolerance: "5s" };
  await using guarded = await startGuarded({ jwt, claimHeaders: { "x-user": "sub" } });
  const { ask, upstream } = guarded;
  const key = encoder.encode(SECRET);
  const { privateKey } = await generateKeyPair("RS256");
  const good = await signed(claims(), "HS256", key);
  const now = Math.floor(Date.now() / 1000);

  assertEquals((await ask(good)).status, 200);
  assertEquals(upstream.sent("x-user"), ["ann"]);
  assertEquals((await ask(await signed(claims({ aud: ["x", "admin"] }), "HS512", key))).status, 200);
  const { exp: _exp, ...endless } = claims();
  const [head, payload, signature] = good.split(".");
  const bad: [string, string][] = [
    ["alg none", unsigned({ alg: "none" }, claims())],
    ["alg None", unsigned({ alg: "None" }, claims())],
    ["alg none with a signature", unsigned({ alg: "none" }, claims()) + signature],
    ["no alg", unsigned({ typ: "JWT" }, claims())],
    ["no signature", `${head}.${payload}.`],
    ["two parts", `${head}.${payload}`],
    ["five parts", `${good}.a.b`],
    ["another payload", `${head}.${base64url(JSON.stringify(claims({ sub: "root" })))}.${signature}`],
    ["another secret", await signed(claims(), "HS256", encoder.encode(SECRET.toUpperCase()))],
    ["a key of one's own", await signed(claims(), "RS256", privateKey)],
    ["a wrong audience", await signed(claims({ aud: "other" }), "HS256", key)],
    ["no audience", await signed({ ...claims(), aud: undefined } as unknown as JWTPayload, "HS256", key)],
    ["a wrong issuer", await signed(claims({ iss: `${ISSUER}evil` }), "HS256", key)],
    ["an end in the past", await signed(claims({ exp: now - 60 }), "HS256", key)],
    [
      "an end that is no number",
      await signed(claims({ exp: "9999999999" as unknown as number }), "HS256", key),
    ],
    ["no end", await signed(endless, "HS256", key)],
    ["a beginning in the future", await signed(claims({ nbf: now + 600 }), "HS256", key)],
    [
      "an extension that must be understood",
      unsigned({ alg: "HS256", crit: ["x"], x: 1 }, claims()) + signature,
    ],
    ["what is no JSON", `${base64url("{")}.${payload}.${signature}`],
    ["what is no object", `${base64url('"HS256"')}.${payload}.${signature}`],
  ];
  for (const [name, token] of bad) {
    await t.step(`not ${name}`, async () => {
      const { status, text } = await ask(token);
      assertEquals(status, 401);
      // Why is for the log: it would tell an attacker how far he has got.
      assertStringIncludes(text, "The token is not valid");
    });
  }
  assertEquals(upstream.requests.length, 2);
});

Deno.test("bearerAuth() takes JWTs of public keys, and none whose secret is the public key", async () => {
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  const jwk = { ...await exportJWK(publicKey), kid: "one", alg: "RS256" };
  await using guarded = await startGuarded({
    jwt: { jwks: { keys: [jwk] }, issuer: ISSUER, audience: "api" },
  });
  const { ask, upstream } = guarded;
  assertEquals((await ask(await signed(claims(), "RS256", privateKey, "one"))).status, 200);
  const pem = encoder.encode(await exportSPKI(publicKey));
  const confused = [
    await signed(claims(), "HS256", pem, "one"),
    await signed(claims(), "HS256", encoder.encode(JSON.stringify(jwk)), "one"),
    await signed(claims(), "HS256", encoder.encode(jwk.n), "one"),
    unsigned({ alg: "none", kid: "one" }, claims()),
    // A key that the token brings along itself.
    await new SignJWT(claims()).setProtectedHeader({
      alg: "HS256",
      jwk: { kty: "oct", k: base64url(SECRET) } as object,
    })
      .sign(encoder.encode(SECRET)),
    await signed(claims(), "RS256", privateKey, "two"),
  ];
  for (const token of confused) assertEquals((await ask(token)).status, 401, token);
  assertEquals(upstream.requests.length, 1);
});

Deno.test("bearerAuth() tries every key that fits a token without a key id", async () => {
  const pairs = await Promise.all([1, 2, 3].map(() => generateKeyPair("RS256", { extractable: true })));
  const keys = await Promise.all(pairs.slice(0, 2).map(({ publicKey }) => exportJWK(publicKey)));
  await using guarded = await startGuarded({ jwt: { jwks: { keys } } });
  const statuses = [];
  for (const { privateKey } of pairs) {
    statuses.push((await guarded.ask(await signed(claims(), "RS256", privateKey))).status);
  }
  assertEquals(statuses, [200, 200, 401]);
  const late = await signed(claims({ exp: 1 }), "RS256", pairs[1]!.privateKey);
  assertEquals((await guarded.ask(late)).status, 401);
});

Deno.test("bearerAuth() does not take a secret of the key set for one", async () => {
  const jwks = { keys: [{ kty: "oct", k: base64url(SECRET), kid: "s", alg: "HS256" }] };
  await using guarded = await startGuarded({ jwt: { jwks } });
  assertEquals((await guarded.ask(await signed(claims(), "HS256", encoder.encode(SECRET), "s"))).status, 401);
});

Deno.test("bearerAuth() fetches the key set once, not for every token with an unknown key", async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  const jwk = { ...await exportJWK(publicKey), kid: "one" };
  await using issuer = startUpstream({ handler: () => Response.json({ keys: [jwk] }) });
  await using guarded = await startGuarded({
    jwt: { jwks: `http://${issuer.address}/jwks`, issuer: ISSUER },
  });
  const { ask } = guarded;
  assertEquals(issuer.requests, 0);
  const token = await signed(claims(), "ES256", privateKey, "one");
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(token)));
  assertEquals(answers.map(({ status }) => status), Array(20).fill(200));
  assertEquals(issuer.requests, 1);
  for (let n = 0; n < 5; n++) {
    assertEquals((await ask(await signed(claims(), "ES256", privateKey, `k${n}`))).status, 401);
  }
  assertEquals(issuer.requests, 1);
});

Deno.test("bearerAuth() says 503 while there are no keys, and recovers", async () => {
  const { privateKey, publicKey } = await generateKeyPair("EdDSA");
  const jwk = { ...await exportJWK(publicKey), kid: "one" };
  let up = false;
  await using issuer = startUpstream({
    handler: () => up ? Response.json({ keys: [jwk] }) : new Response("secret details", { status: 500 }),
  });
  await using guarded = await startGuarded({ jwt: { jwks: `http://${issuer.address}/jwks` } });
  const { ask, proxy, upstream } = guarded;
  const token = await signed(claims(), "EdDSA", privateKey, "one");
  const { status, field, text } = await ask(token);
  assertEquals([status, field("retry-after"), text.includes("details")], [503, "5", false]);
  const [event] = proxy.seen.eventsOf("request_log");
  assert(event !== undefined);
  assertEquals([event.level, event.message], ["error", "Cannot verify tokens"]);
  assertMatch(String(event.fields.reason), /200 OK/);
  up = true;
  assertEquals((await ask(token)).status, 200);
  assertEquals(upstream.requests.length, 1);
});

Deno.test("bearerAuth() refuses options that cannot be meant", () => {
  const wrong: [BearerAuthOptions, string][] = [
    [{}, 'either "verify" or "jwt"'],
    [{ verify: () => true, jwt: { secret: SECRET } }, 'either "verify" or "jwt"'],
    [{ jwt: {} }, 'either "jwks" or "secret"'],
    [{ jwt: { secret: SECRET, jwks: "https://a.example/" } }, 'either "jwks" or "secret"'],
    [{ jwt: { secret: "short" } }, "32 bytes or more, has 5"],
    [{ jwt: { jwks: "file:///etc/passwd" } }, '"jwt.jwks" must be'],
    [{ jwt: { jwks: "a.example" } }, '"jwt.jwks" must be'],
    [{ jwt: { secret: SECRET, algorithms: ["none"] } }, 'received "none"'],
    [{ jwt: { secret: SECRET, algorithms: ["RS256"] } }, 'received "RS256"'],
    [{ jwt: { jwks: "https://a.example/", algorithms: ["RS256", "HS256"] } }, 'received "HS256"'],
    [{ jwt: { jwks: "https://a.example/", algorithms: [] } }, '"jwt.algorithms"'],
    [{ jwt: { secret: SECRET, clockTolerance: "5" } }, '"jwt.clockTolerance"'],
    [{ verify: () => true, realm: "a\r\nb" }, "ASCII"],
    [{ verify: () => true, claimHeaders: { "x y": "sub" } }, "name of a field"],
    [
      { verify: () => true, claimEncoding: "utf-8" as "plain" },
      '"claimEncoding" must be "plain" or "percent"',
    ],
  ];
  for (const [options, message] of wrong) assertThrows(() => bearerAuth(options), TypeError, message);
});
