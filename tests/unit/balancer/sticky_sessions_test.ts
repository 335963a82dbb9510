import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { getSetCookies } from "@std/http/cookie";
import { LoadBalancer, type LoadBalancerOptions } from "../../../lib/balancer/load_balancer.ts";
import type { StickyOptions } from "../../../lib/balancer/sticky_sessions.ts";
import type { Server } from "../../../lib/upstream/server.ts";

const SECRET = "a secret of enough characters";
const ADDRESSES = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"];

function balance(sticky: Partial<StickyOptions> = {}, options: LoadBalancerOptions = {}): LoadBalancer {
  return LoadBalancer.from(ADDRESSES, { sticky: { secret: SECRET, ...sticky }, ...options });
}

/** What a client sends back after a response of this server. */
function sessionOf(balancer: LoadBalancer, server: Server): string {
  const field = balancer.sticky!.setCookieFor(server, false)!;
  return getSetCookies(new Headers({ "set-cookie": field }))[0]!.value;
}

Deno.test("StickySessions keep a client at its server, whatever the algorithm would do", () => {
  using balancer = balance();
  const server = balancer.pool.servers[1]!;
  const session = sessionOf(balancer, server);
  for (let i = 0; i < 10; i++) assertEquals(balancer.pick({ session }), server);
  assertEquals(new Set(ADDRESSES.map(() => balancer.pick({})!.id)).size, 3);
});

Deno.test("StickySessions ignore what they did not make", () => {
  using balancer = balance();
  using stranger = balance({ secret: "another secret, as long" });
  const forged = [
    "",
    "x",
    ADDRESSES[1]!,
    btoa(ADDRESSES[1]!),
    sessionOf(stranger, stranger.pool.servers[1]!),
    "__proto__",
    null,
    undefined,
  ];
  for (const session of forged) {
    const ids = ADDRESSES.map(() => balancer.pick({ session })!.id);
    assertEquals(new Set(ids).size, 3, `${session}`);
  }
});

Deno.test("StickySessions of two pools with the same servers and secret are not each other's", async () => {
  const { Pool } = await import("../../../lib/upstream/pool.ts");
  const { resolveSticky } = await import("../../../lib/balancer/sticky_sessions.ts");
  const sticky = resolveSticky({ secret: SECRET });
  using one = new LoadBalancer({ pool: new Pool({ name: "one", servers: ADDRESSES }), sticky });
  using two = new LoadBalancer({ pool: new Pool({ name: "two", servers: ADDRESSES }), sticky });
  assertNotEquals(sessionOf(one, one.pool.servers[0]!), sessionOf(two, two.pool.servers[0]!));
});

Deno.test("StickySessions let a client go whose server may not be used, and take it back", () => {
  using balancer = balance();
  const { pool } = balancer;
  const server = pool.servers[0]!;
  const session = sessionOf(balancer, server);
  const away: [string, () => void, () => void][] = [
    ["disabled", () => pool.setEnabled(server, false), () => pool.setEnabled(server, true)],
    ["draining", () => pool.setDraining(server, true), () => pool.setDraining(server, false)],
    ["unhealthy", () => server.setHealth("down"), () => server.setHealth("up")],
    ["ejected", () => server.setEjected(true), () => server.setEjected(false)],
  ];
  for (const [why, leave, come] of away) {
    leave();
    for (let i = 0; i < 4; i++) assertNotEquals(balancer.pick({ session }), server, why);
    come();
    assertEquals(balancer.pick({ session }), server, why);
  }
  assertNotEquals(balancer.pick({ session, exclude: [server] }), server, "tried already");
});

Deno.test("StickySessions with keepWhileDraining stay at a server that drains, and at none that is down", () => {
  using balancer = balance({ keepWhileDraining: true });
  const { pool } = balancer;
  const server = pool.servers[0]!;
  const session = sessionOf(balancer, server);
  pool.setDraining(server, true);
  assertEquals(balancer.pick({ session }), server);
  for (let i = 0; i < 4; i++) assertNotEquals(balancer.pick({}), server);
  server.setHealth("down");
  assertNotEquals(balancer.pick({ session }), server);
});

Deno.test("StickySessions follow the members of the pool", async () => {
  using balancer = balance();
  const { pool } = balancer;
  const server = pool.servers[0]!;
  const session = sessionOf(balancer, server);
  await pool.removeServer(server);
  assertNotEquals(balancer.pick({ session }), server);
  assertEquals(balancer.sticky!.setCookieFor(server, false), null);
  const again = pool.addServer(ADDRESSES[0]!);
  assertEquals(balancer.pick({ session }), again);
  assert(balancer.sticky!.isOf(session, again));
  assert(!balancer.sticky!.isOf(session, pool.servers[0]!));
});

Deno.test("StickySessions do not send a client to its server when that is full", () => {
  using balancer = LoadBalancer.from(
    ADDRESSES.map((address) => ({ address, maxInFlight: 1 })),
    { sticky: { secret: SECRET } },
  );
  const server = balancer.pool.servers[0]!;
  const session = sessionOf(balancer, server);
  using _lease = server.acquire();
  assertNotEquals(balancer.pick({ session }), server);
});

Deno.test("StickySessions write cookies with every attribute that was asked for", () => {
  const table: [Partial<StickyOptions>, boolean, string][] = [
    [{}, false, "lbproxy=V; HttpOnly; SameSite=Lax; Path=/"],
    [{}, true, "lbproxy=V; Secure; HttpOnly; SameSite=Lax; Path=/"],
    [{ secure: false }, true, "lbproxy=V; HttpOnly; SameSite=Lax; Path=/"],
    [{ cookie: "at", maxAge: "1m" }, false, "at=V; HttpOnly; Max-Age=60; SameSite=Lax; Path=/"],
    [{ sameSite: "None" }, false, "lbproxy=V; Secure; HttpOnly; SameSite=None; Path=/"],
    [
      { domain: "a.example", path: "/app" },
      false,
      "lbproxy=V; HttpOnly; Domain=a.example; SameSite=Lax; Path=/app",
    ],
  ];
  for (const [options, overTls, expected] of table) {
    using balancer = balance(options);
    const field = balancer.sticky!.setCookieFor(balancer.pool.servers[0]!, overTls)!;
    assertEquals(field.replace(/=[\w-]{43}/, "=V"), expected);
  }
});

Deno.test("LoadBalancer.from() says everything that is wrong at once", () => {
  const error = assertThrows(
    () =>
      balance({
        secret: "short",
        cookie: "a b",
        maxAge: "soon" as "1s",
        path: "x",
        sameSite: "None",
        secure: false,
      }),
    TypeError,
  );
  for (const option of ["secret", "cookie", "maxAge", "path", "secure"]) {
    assert(error.message.includes(`"sticky.${option}" must`), error.message);
  }
});
