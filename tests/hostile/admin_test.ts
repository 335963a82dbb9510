/** Attacks on the admin listener: whatever comes, nothing is changed that must not be, and it goes on. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ConfigError } from "../../lib/config/config_error.ts";
import { ADMIN, AdminClient, TOKEN } from "../support/admin_client.ts";
import { rawClient } from "../support/raw_client.ts";
import { startProxy, type TestProxy } from "../support/start_proxy.ts";
import { startUpstream, type Upstream } from "../support/start_upstream.ts";
import { testCa } from "../support/test_ca.ts";

/** A proxy with an admin listener, whose only server must not be drained by anybody here. */
class Victim implements AsyncDisposable {
  readonly upstream: Upstream;
  readonly proxy: TestProxy;
  readonly admin: AdminClient;

  private constructor(upstream: Upstream, proxy: TestProxy) {
    this.upstream = upstream;
    this.proxy = proxy;
    this.admin = new AdminClient(proxy);
  }

  static async start(admin: object = ADMIN): Promise<Victim> {
    const upstream = startUpstream();
    return new Victim(upstream, await startProxy({ upstreams: [upstream.address], admin }));
  }

  get drain(): string {
    return `/pools/default/servers/${this.upstream.address}/drain`;
  }

  /** Fails if anybody has succeeded. */
  assertUnchanged(): void {
    const pool = this.proxy.server.pools.get("default")!;
    assertEquals(pool.servers.map(({ id, eligible, weight }) => [id, eligible, weight]), [[
      this.upstream.address,
      true,
      1,
    ]]);
    assertEquals(this.proxy.seen.eventsOf("admin_change"), []);
  }

  /** Sends bytes, and gives the status of the response. */
  async raw(head: string, body = ""): Promise<number> {
    using connection = await rawClient(this.admin.port);
    await connection.write(head.replaceAll("\n", "\r\n") + body);
    return (await connection.readResponse("POST")).status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy[Symbol.asyncDispose]();
    await this.upstream.close();
  }
}

Deno.test("The admin listener changes nothing without a token, with a wrong one, or with one in a wrong place", async () => {
  await using victim = await Victim.start();
  const { admin, drain } = victim;
  const bare =
    `POST ${drain} HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 2\nConnection: close\n\n`;
  assertEquals(await victim.raw(bare, "{}"), 401);
  for (
    const authorization of [
      "",
      "Bearer",
      "Bearer ",
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN.slice(0, -1)}`,
      `Bearer ${TOKEN.toUpperCase()}`,
      `Bearer ${TOKEN} ${TOKEN}`,
      `Basic ${btoa(`tester:${TOKEN}`)}`,
      TOKEN,
      "Bearer tester",
      "Bearer null",
      "Bearer undefined",
    ]
  ) {
    const { status, headers } = await admin.post(drain, {}, { authorization });
    assertEquals(status, 401, authorization);
    assertMatch(headers.get("www-authenticate") ?? "", /^Bearer /);
  }
  assertEquals(
    (await admin.post(`${drain}?token=${TOKEN}&access_token=${TOKEN}`, {}, { authorization: "x" })).status,
    401,
  );
  assertEquals((await admin.post(drain, {}, { authorization: "x", cookie: `token=${TOKEN}` })).status, 401);
  victim.assertUnchanged();
  assert(victim.proxy.seen.eventsOf("admin_refusal").length > 0);
  assertEquals((await admin.post(drain)).status, 200);
});

Deno.test("The admin listener without tokens changes nothing for anybody", async () => {
  await using victim = await Victim.start({ listen: "127.0.0.1:0" });
  const { status, json } = await victim.admin.post(victim.drain, {}, { authorization: "" });
  assertEquals(status, 403);
  assertEquals((await victim.admin.post(victim.drain)).status, 403);
  assertMatch(json.detail, /token/);
  victim.assertUnchanged();
});

Deno.test("The admin listener that wants a token for reading shows nothing without one but whether it lives", async () => {
  await using victim = await Victim.start({ ...ADMIN, read: "token" });
  const { admin } = victim;
  for (const path of ["/status", "/events", "/metrics", "/config", "/limits", "/limits/x/keys"]) {
    const { status, text } = await admin.get(path);
    assertEquals(status, 401, path);
    assert(!text.includes(victim.upstream.address));
  }
  assertEquals((await admin.get("/healthz")).status, 200);
  assertEquals((await admin.get("/readyz")).status, 200);
  assertEquals((await admin.get("/status", { authorization: `Bearer ${TOKEN}` })).status, 200);
});

Deno.test("The admin listener takes no change from another site, whatever token comes with it", async () => {
  await using victim = await Victim.start();
  const { admin, drain } = victim;
  const foreign: Record<string, string>[] = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: `http://127.0.0.1:${admin.port + 1}` },
    { origin: `http://127.0.0.1:${admin.port}.evil.example` },
    { origin: `http://localhost:${admin.port}` },
    { origin: "" },
  ];
  for (const headers of foreign) {
    assertEquals((await admin.post(drain, {}, headers)).status, 403, JSON.stringify(headers));
    // Nor is anything told to it.
    assertEquals((await admin.get("/status", headers)).status, 403);
  }
  // What forms and simple requests of other sites can send without being asked about it first.
  for (
    const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "",
      "application/jsonp",
    ]
  ) {
    assertEquals((await admin.post(drain, {}, { "content-type": type })).status, 415, type);
  }
  const preflight = await fetch(`http://127.0.0.1:${admin.port}${drain}`, {
    method: "OPTIONS",
    headers: { origin: "https://evil.example", "access-control-request-method": "POST" },
  });
  await preflight.body?.cancel();
  assertEquals([preflight.status, preflight.headers.get("access-control-allow-origin")], [403, null]);
  for (const site of ["cross-site", "same-site"]) {
    const head = `POST ${drain} HTTP/1.1\nHost: 127.0.0.1:${admin.port}\nSec-Fetch-Site: ${site}\n` +
      `Authorization: Bearer ${TOKEN}\nContent-Type: application/json\nContent-Length: 2\nConnection: close\n\n`;
    assertEquals(await victim.raw(head, "{}"), 403);
  }
  victim.assertUnchanged();
  assertEquals((await admin.post(drain, {}, { origin: `http://127.0.0.1:${admin.port}` })).status, 200);
});

Deno.test("The admin listener does not respond to names that somebody has rebound to its address", async () => {
  await using victim = await Victim.start({ ...ADMIN, hosts: ["proxy.example"] });
  const { admin, drain } = victim;
  const get = (host: string) => victim.raw(`GET /status HTTP/1.1\nHost: ${host}\nConnection: close\n\n`);
  for (
    const host of [
      "evil.example",
      `evil.example:${admin.port}`,
      "127.0.0.1.evil.example",
      "localhost.evil.example",
      "127.0.0.1@evil.example",
    ]
  ) {
    const status = await get(host);
    assert(status === 421 || status === 400, `${host}: ${status}`);
    const changed = await victim.raw(
      `POST ${drain} HTTP/1.1\nHost: ${host}\nAuthorization: Bearer ${TOKEN}\nContent-Type: application/json\nContent-Length: 2\nConnection: close\n\n`,
      "{}",
    );
    assert(changed === 421 || changed === 400, `${host}: ${changed}`);
  }
  for (
    const host of [
      `127.0.0.1:${admin.port}`,
      "localhost",
      `LOCALHOST:${admin.port}`,
      "[::1]:80",
      "proxy.example",
      "proxy.example:443",
    ]
  ) {
    assertEquals(await get(host), 200, host);
  }
  victim.assertUnchanged();
});

Deno.test("The admin listener takes no large content, told or untold", async () => {
  await using victim = await Victim.start();
  const { admin, drain } = victim;
  const large = JSON.stringify({ x: "y".repeat(100_000) });
  assertEquals((await admin.post(drain, large)).status, 413);
  const chunked = await fetch(`http://127.0.0.1:${admin.port}${drain}`, {
    method: "POST",
    headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
    body: new Blob([large]).stream(),
  });
  await chunked.body?.cancel();
  assertEquals(chunked.status, 413);
  // Who has no token is not read at all.
  assertEquals((await admin.post(drain, large, { authorization: "" })).status, 401);
  victim.assertUnchanged();
});

Deno.test("The admin listener serves others while clients send nothing, or half of a request", async () => {
  await using victim = await Victim.start();
  const { admin, drain } = victim;
  const slow = await Promise.all(Array.from({ length: 50 }, () => rawClient(admin.port)));
  using stack = new DisposableStack();
  for (const [i, connection] of slow.entries()) {
    stack.use(connection);
    if (i % 3 === 0) continue;
    const head = `POST ${drain} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n`;
    const rest = `Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`;
    await connection.write(i % 3 === 1 ? head : head + rest);
  }
  assertEquals((await admin.get("/status")).status, 200);
  // It stops in time too, which the end of this test shows.
  victim.assertUnchanged();
});

Deno.test("The admin listener has a hundred readers of its stream at most, and nothing else waits for them", async () => {
  await using victim = await Victim.start();
  const { admin } = victim;
  using stack = new DisposableStack();
  const open = async (): Promise<string> => {
    const connection = stack.use(await rawClient(admin.port));
    await connection.write("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return (await connection.readHead())!.split("\r\n")[0]!;
  };
  // They read no more than the head.
  for (let i = 0; i < 100; i++) assertEquals(await open(), "HTTP/1.1 200 OK");
  assertEquals(await open(), "HTTP/1.1 503 Service Unavailable");
  assertEquals((await admin.get("/status")).status, 200);
  victim.assertUnchanged();
});

Deno.test("The admin listener has no files, whatever the path", async () => {
  await using victim = await Victim.start();
  for (
    const path of [
      "/../../../etc/passwd",
      "/..%2f..%2f..%2fetc/passwd",
      "/%2e%2e/%2e%2e/etc/passwd",
      "/..\\..\\etc\\passwd",
      "//etc/passwd",
      "/status/../../etc/passwd",
      "/limits/%2e%2e%2f%2e%2e/keys",
      "/limits/%/keys",
      "/limits/%00/keys",
      "/pools/__proto__/servers",
      "/constructor",
      "/page/dashboard.js",
    ]
  ) {
    const status = await victim.raw(`GET ${path} HTTP/1.1\nHost: localhost\nConnection: close\n\n`);
    assert(status === 404 || status === 405 || status === 400, `${path}: ${status}`);
  }
  for (const name of ["__proto__", "constructor", "toString", "default/../default"]) {
    const path = `/pools/${encodeURIComponent(name)}/servers/${victim.upstream.address}/drain`;
    assertEquals((await victim.admin.post(path)).status, 404, name);
  }
  victim.assertUnchanged();
});

Deno.test("The admin listener lets nothing of a request into fields, lines of the log or messages of a stream", async () => {
  await using victim = await Victim.start();
  const { admin } = victim;
  const nasty = 'a\r\nset-cookie: x=1\r\n\r\nevent: status\ndata: {"evil":1}\n\n<script>alert(1)</script>';
  await using events = await admin.events();
  const refused = await admin.post("/pools/default/servers", { address: nasty });
  assertEquals([refused.status, refused.headers.get("set-cookie")], [400, null]);
  const missing = await admin.post(`/pools/${encodeURIComponent(nasty)}/servers`, { address: "a:1" });
  assertEquals([missing.status, missing.headers.get("set-cookie")], [404, null]);
  assertEquals(missing.headers.get("content-type"), "application/problem+json");
  const told = await events.until(({ event, data }) => event === "log" && data.kind === "admin_change");
  assert(told.data.message.includes("set-cookie"));
  const next = await events.until(({ event }) => event === "status");
  assertEquals(next.data.evil, undefined);
  assertEquals(missing.headers.get("x-content-type-options"), "nosniff");
});

Deno.test("The admin listener does not open with a key of another certificate", async () => {
  const ca = await testCa();
  const [one, two] = await Promise.all(
    ["one.example", "two.example"].map((name) => ca.issue({ names: [name] })),
  );
  await assertRejects(
    () =>
      startProxy({
        upstreams: ["127.0.0.1:9"],
        admin: { ...ADMIN, tls: { cert: one!.cert, key: two!.key } },
      }),
    ConfigError,
    "admin.tls",
  );
});

Deno.test("The admin listener with TLS checks the host of HTTP/2 and of HTTP/1.1", async () => {
  const ca = await testCa();
  await using victim = await Victim.start({ ...ADMIN, tls: await ca.issue({ names: ["localhost"] }) });
  const { port } = victim.admin;
  using client = Deno.createHttpClient({ caCerts: [ca.cert] });
  for (const [path, status] of [["/status", 200], ["/nothing", 404]] as const) {
    const response = await fetch(`https://localhost:${port}${path}`, { client });
    await response.body?.cancel();
    assertEquals(response.status, status);
  }
  for (const [host, status] of [["localhost", 200], ["evil.example", 421]] as const) {
    using connection = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca.cert] });
    const head = `GET /status HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    await connection.write(new TextEncoder().encode(head));
    assertMatch(await new Response(connection.readable).text(), new RegExp(`^HTTP/1.1 ${status} `));
  }
  victim.assertUnchanged();
});
